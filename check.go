package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"pipit/config"
)

// checkConfig tells whether a start with a configuration would be refused, and why, without a start:
// nothing is written, made or listened on. What cannot be told now is a hint on stderr.
func checkConfig(ctx context.Context, file string, env []string, stdout, stderr io.Writer) error {
	c, hints, err := config.Rehearse(ctx, file, configEnv(env), machine)
	for _, h := range hints {
		fmt.Fprintf(stderr, "pipit: hint: %s\n", h)
	}
	if err != nil {
		return err
	}
	d := c.Definition()
	for _, weak := range d.Weak() {
		fmt.Fprintf(stderr, "pipit: warning: %s\n", weak)
	}
	checked := cmp.Or(file, "built-in defaults")
	if set := config.Variables(configEnv(env)); len(set) > 0 {
		checked += " with " + strings.Join(set, ", ")
	}
	fmt.Fprintln(stdout, checked+": ok")
	return nil
}
