package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// texts are the strings of the program, one a line, with those of its pages.
func texts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() || strings.HasSuffix(file, "_test.go"):
			return err
		case strings.HasSuffix(file, ".go"):
			code, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(code, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, _ := strconv.Unquote(lit.Value)
					all.WriteString(s + "\n")
				}
				return true
			})
		case strings.HasSuffix(file, ".html"):
			text, err := os.ReadFile(file) // #nosec G304 -- of the repository
			all.Write(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Each message that docs/troubleshooting.md explains is one that the program has: what stands between its … is in one of
// the program's strings, or is the system's.
func TestDocumentedMessages(t *testing.T) {
	all := texts(t) + syscall.EADDRINUSE.Error()
	messages := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(pages(t)["docs/troubleshooting.md"], -1)
	if len(messages) < 30 {
		t.Errorf("%d messages were found", len(messages))
	}
	for _, m := range messages {
		for part := range strings.SplitSeq(m[1], "…") {
			if part = strings.TrimSpace(part); !strings.Contains(all, part) {
				t.Errorf("%q: nothing says %q", m[1], part)
			}
		}
	}
}

// Each code of what needs attention stands in docs/monitoring.md, and no other.
func TestDocumentedAttention(t *testing.T) {
	code, err := os.ReadFile(filepath.Join("admin", "monitor", "attention.go"))
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t[cC]ode[A-Z]\w+ += "(\w+)"$`).FindAllSubmatch(code, -1) {
		has[string(m[1])] = true
	}
	_, page, _ := strings.Cut(pages(t)["docs/monitoring.md"], "## What needs attention")
	page, _, _ = strings.Cut(page, "\n## ")
	told := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(page, -1) {
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			told[m[1]] = true
		}
	}
	if len(has) < 10 {
		t.Errorf("%d codes were found", len(has))
	}
	for code := range has {
		if !told[code] {
			t.Errorf("%s is not told", code)
		}
	}
	for code := range told {
		if !has[code] {
			t.Errorf("%s is no code", code)
		}
	}
}
