package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	envPrefix  = "PIPIT_"
	fileSuffix = "_FILE" // of a variable that names the file with the value
)

// maxValueFile bounds what is read of a file that a variable names.
const maxValueFile = 64 << 10 // bytes

// variable is one of the environment that sets a key.
type variable struct {
	name, section, key string
	index              int // of the element; -1 in a section that is one table
	value              string
	file               bool // value is the name of the file that the value is in
}

// bindEnv fills c from variables such as PIPIT_HTTP_LISTEN and PIPIT_CLIENT_0_PASSWORD, or
// PIPIT_CLIENT_0_PASSWORD_FILE for one that a file holds.
func (b *binder) bindEnv(c *Config, env []string) {
	b.vars = map[string]string{}
	root := reflect.ValueOf(c).Elem()
	for _, v := range b.variables(root, env) {
		f, _ := fieldOf(root, v.section)
		at, into := v.section, f.at
		if v.index >= 0 {
			if v.index > f.at.Len() {
				b.refuse(v.name, "there are %d [[%s]], so the next number is %d", f.at.Len(), v.section, f.at.Len())
				continue
			}
			if v.index == f.at.Len() {
				f.grow()
			}
			at, into = fmt.Sprintf("%s[%d]", v.section, v.index), f.at.Index(v.index)
		}
		at = joinKey(at, v.key)
		if other := b.vars[at]; other != "" {
			b.refuse(v.name, "%s is set as well: allowed is one of them", other)
			continue
		}
		b.vars[at] = v.name
		if v.file {
			var err error
			if v.value, err = readValue(v.value); err != nil {
				b.note(at, err.Error())
				continue
			}
		}
		key, _ := fieldOf(into, v.key)
		if err := key.setText(v.value); err != nil {
			b.errorf(at, "%v", err)
		}
	}
}

// Variables are the names of those in env that set a key.
func Variables(env []string) (names []string) {
	var b binder
	for _, v := range b.variables(reflect.ValueOf(&Config{}).Elem(), env) {
		names = append(names, v.name)
	}
	return names
}

// variables are those of the configuration, by section, number and key. Others that begin as they do
// are refused, since one of them may be misspelled.
func (b *binder) variables(root reflect.Value, env []string) []variable {
	var vars []variable
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || serviceLink.MatchString(kv) {
			continue
		}
		v, ok := parseVariable(root, rest)
		if !ok {
			b.refuse(name, "no such variable: allowed are %sSECTION_KEY, as in %sHTTP_LISTEN, and %sCLIENT_0_PASSWORD for the first [[client]], each also with %s for the file that holds the value",
				envPrefix, envPrefix, envPrefix, fileSuffix)
			continue
		}
		v.name, v.value = name, value
		vars = append(vars, v)
	}
	slices.SortFunc(vars, func(x, y variable) int {
		return cmp.Or(strings.Compare(x.section, y.section), x.index-y.index, strings.Compare(x.key, y.key), strings.Compare(x.name, y.name))
	})
	return vars
}

// refuse notes a fault of a variable itself.
func (b *binder) refuse(name, format string, args ...any) {
	b.faults = append(b.faults, fault{text: name + ": " + fmt.Sprintf(format, args...)})
}

// parseVariable reads the name of a variable behind the prefix.
func parseVariable(root reflect.Value, rest string) (variable, bool) {
	section, key, _ := strings.Cut(rest, "_")
	v := variable{section: strings.ToLower(section), index: -1}
	f, ok := fieldOf(root, v.section)
	if !ok || rest != strings.ToUpper(rest) {
		return v, false
	}
	if f.at.Kind() == reflect.Slice {
		var digits string
		digits, key, _ = strings.Cut(key, "_")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != digits {
			return v, false
		}
		v.index = int(n)
	}
	keys := keysOf(f.table())
	if v.key = strings.ToLower(key); slices.Contains(keys, v.key) {
		return v, true
	}
	key, v.file = strings.CutSuffix(key, fileSuffix)
	v.key = strings.ToLower(key)
	return v, v.file && slices.Contains(keys, v.key)
}

// readValue reads a value from a file, as container platforms hand out secrets. One line end at its
// end, which editors leave there, is not part of it.
func readValue(name string) (string, error) {
	if name == "" {
		return "", errors.New(`"": allowed is the path of a file`)
	}
	f, err := os.Open(name) // #nosec G304 -- whoever starts the program names it
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxValueFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxValueFile {
		return "", fmt.Errorf("%s is too large: allowed are at most %d bytes", name, maxValueFile)
	}
	value := strings.TrimPrefix(string(text), byteOrderMark)
	if s, ok := strings.CutSuffix(value, "\n"); ok {
		value = strings.TrimSuffix(s, "\r")
	}
	return value, nil
}

// serviceLink are the variables that Kubernetes sets by itself in every pod, for each service of its
// namespace: here for services whose names begin with pipit. A PORT that is no URL is somebody else's.
var serviceLink = regexp.MustCompile(`^PIPIT_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|PORT=[a-z]+:/)[=/]`)
