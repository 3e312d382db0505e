package openapi

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// comments are those of types and of their fields, by package, type and field. What was not asked for is not read.
type comments map[string]map[string]string

// of returns the comment of a field of a struct, or, where field is empty, that of the type.
func (c *comments) of(t reflect.Type, field string) string {
	pkg := t.PkgPath()
	if pkg == "" {
		return "" // a struct without a name
	}
	if *c == nil {
		*c = comments{}
	}
	if (*c)[pkg] == nil {
		(*c)[pkg] = readComments(pkg)
	}
	name, _, _ := strings.Cut(t.Name(), "[") // of a generic type
	if field == "" {
		return (*c)[pkg][name]
	}
	return Sentence((*c)[pkg][name+"."+field])
}

// readComments reads the comments of a package's types and fields.
func readComments(pkg string) map[string]string {
	found, err := build.Import(pkg, ".", 0)
	if err != nil {
		panic(fmt.Sprintf("openapi: %v", err))
	}
	texts := map[string]string{}
	alike := map[string]string{} // types that are declared by another one's name
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(found.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			panic(fmt.Sprintf("openapi: %v", err))
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.TYPE {
				for _, spec := range d.Specs {
					readType(texts, alike, spec.(*ast.TypeSpec), d.Doc)
				}
			}
		}
	}
	for name, as := range alike {
		for key, text := range texts {
			if field, ok := strings.CutPrefix(key, as+"."); ok {
				texts[name+"."+field] = text
			}
		}
	}
	return texts
}

func readType(texts, alike map[string]string, spec *ast.TypeSpec, doc *ast.CommentGroup) {
	name := spec.Name.Name
	texts[name] = plain(doc)
	switch t := spec.Type.(type) {
	case *ast.Ident:
		alike[name] = t.Name
	case *ast.StructType:
		for _, f := range t.Fields.List {
			text := plain(f.Comment)
			if text == "" {
				text = plain(f.Doc)
			}
			for _, field := range f.Names {
				texts[name+"."+field.Name] = text
			}
		}
	}
}

// plain returns a comment in one line.
func plain(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// Sentence makes a sentence of a comment: a capital at its beginning, unless it begins with something that is no word, and a
// full stop at its end.
func Sentence(text string) string {
	if text == "" {
		return ""
	}
	word, _, _ := strings.Cut(text, " ")
	if strings.IndexFunc(strings.TrimRight(word, ",.;:"), func(r rune) bool { return !unicode.IsLetter(r) }) < 0 {
		first, size := utf8.DecodeRuneInString(text)
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
