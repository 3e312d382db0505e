// Command rename gives the module a path that it can be fetched by, such as example.org/pipit: in each go.mod, in imports, and in
// what the documentation shows.
//
//	go run ./internal/rename example.org/pipit
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/rename PATH")
		os.Exit(2)
	}
	changed, err := rename(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
	fmt.Println(changed, "files changed")
}

// fetched is a path that names a host, as go get needs it.
var fetched = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

// rename changes the path of the module in a folder, and returns in how many files.
func rename(dir, to string) (changed int, err error) {
	if !fetched.MatchString(to) {
		return 0, fmt.Errorf("PATH %q: allowed is a host and a path, such as example.org/pipit", to)
	}
	from, err := modulePath(filepath.Join(dir, "go.mod"))
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		var change func(string, []byte, string, string) ([]byte, error)
		switch filepath.Ext(file) {
		case ".go":
			change = imports
		case ".md":
			change = shown
		case ".mod":
			change = module
		default:
			return nil
		}
		before, err := os.ReadFile(file) // #nosec G122 G304 -- of the repository
		if err != nil {
			return err
		}
		after, err := change(file, before, from, to)
		if err != nil || bytes.Equal(before, after) {
			return err
		}
		changed++
		return os.WriteFile(file, after, 0o644) // #nosec G122 G306 G703 -- sources of a tree of one's own
	})
	return changed, err
}

// under is path with the module's own new one in front, where it is of the module.
func under(path, from, to string) (string, bool) {
	if rest, ok := strings.CutPrefix(path, from); ok && (rest == "" || rest[0] == '/') {
		return to + rest, true
	}
	return path, false
}

// imports changes those of a file of Go.
func imports(file string, text []byte, from, to string) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	out, end := []byte(nil), 0
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if path, ok := under(path, from, to); ok {
			at := fset.Position(spec.Path.Pos()).Offset
			out = append(append(out, text[end:at]...), strconv.Quote(path)...)
			end = at + len(spec.Path.Value)
		}
	}
	if end == 0 {
		return text, nil
	}
	return format.Source(append(out, text[end:]...)) // since imports are sorted
}

// module changes the module's own path, and requirements of it.
func module(file string, text []byte, from, to string) ([]byte, error) {
	path, err := modulePath(file)
	if err != nil {
		return nil, err
	}
	path, _ = under(path, from, to)
	text = regexp.MustCompile(`(?m)^module .*$`).ReplaceAllLiteral(text, []byte("module "+path))
	return required(text, from, to), nil
}

// required changes lines that require and replace the module.
func required(text []byte, from, to string) []byte {
	line := regexp.MustCompile(`(?m)^((?:require|replace)?[ \t]*)` + regexp.QuoteMeta(from) + `((?:/\S+)? (?:v\d|=>))`)
	return line.ReplaceAll(text, []byte("${1}"+to+"${2}"))
}

// shown changes what a page shows: a go.mod, imports, and what go doc is asked for.
func shown(_ string, text []byte, from, to string) ([]byte, error) {
	text = required(text, from, to)
	quoted := regexp.MustCompile(`(?m)^((?:import )?[ \t]*")` + regexp.QuoteMeta(from) + `(/[a-z/]+)?"`)
	text = quoted.ReplaceAll(text, []byte("${1}"+to+`${2}"`))
	asked := regexp.MustCompile(`(go doc (?:-\w+ )*)` + regexp.QuoteMeta(from) + `([/\s` + "`])")
	return asked.ReplaceAll(text, []byte("${1}"+to+"${2}")), nil
}

func modulePath(file string) (string, error) {
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output() // #nosec G204 -- of the repository
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	var mod struct{ Module struct{ Path string } }
	err = json.Unmarshal(out, &mod)
	return mod.Module.Path, err
}
