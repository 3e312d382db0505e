package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Bounds of what one has to have in mind at once. Tests are not counted.
const (
	maxMethods       = 60
	maxFunctionLines = 80
	maxFileLines     = 600
	maxPackageLines  = 4000 // or the package's comment says why it has more than 4,000 lines
)

// TestLayoutSizes counts the methods of types, and the lines of functions, files and packages.
func TestLayoutSizes(t *testing.T) {
	sizes, explained := map[string]int{}, map[string]bool{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		lines := fset.File(file.Pos()).LineCount()
		sizes["package "+dir] += lines
		if file.Doc != nil && strings.Contains(strings.Join(strings.Fields(file.Doc.Text()), " "), "more than 4,000 lines") {
			explained["package "+dir] = true
		}
		sizes["file "+filepath.ToSlash(path)] = lines
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				name := dir + "." + f.Name.Name
				if r := receiver(f); r != "" {
					sizes["type "+dir+"."+r]++
					name = dir + "." + r + "." + f.Name.Name
				}
				sizes["function "+name] = max(sizes["function "+name], fset.Position(f.End()).Line-fset.Position(f.Pos()).Line+1)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string]int{"type": maxMethods, "function": maxFunctionLines, "file": maxFileLines, "package": maxPackageLines}
	for _, what := range slices.Sorted(maps.Keys(sizes)) {
		kind, _, _ := strings.Cut(what, " ")
		if n, most := sizes[what], bounds[kind]; n > most && !explained[what] {
			t.Errorf("%s: %d, allowed are %d", what, n, most)
		}
	}
}

// maxPage is how many lines the overview of package broker has, which who embeds one reads: what nobody outside needs
// belongs in a package below it.
const maxPage = 87

// TestLayoutPage counts the lines of go doc ./broker.
func TestLayoutPage(t *testing.T) {
	out, err := exec.Command("go", "doc", "./broker").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out, []byte("\n")); n < 40 || n > maxPage {
		t.Errorf("go doc ./broker has %d lines, allowed are 40 to %d:\n%s", n, maxPage, out)
	}
}

// receiver returns the name of the type that f is a method of, empty where it is a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	for {
		switch x := of.(type) {
		case *ast.StarExpr:
			of = x.X
		case *ast.IndexExpr:
			of = x.X
		case *ast.IndexListExpr:
			of = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
