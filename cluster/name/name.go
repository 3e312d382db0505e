// Package name says what nodes of a cluster may be called, for the configuration and for who adds one.
package name

import (
	"fmt"
	"regexp"
)

// Allowed is the rule, in words.
const Allowed = "allowed are 1 to 63 letters, digits and .-_ behind a letter or digit"

var rule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Check returns what is wrong with the name of a node, nil where nothing is.
func Check(node string) error {
	if !rule.MatchString(node) {
		return fmt.Errorf("node %q: %s", node, Allowed)
	}
	return nil
}
