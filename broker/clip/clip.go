// Package clip shortens what errors, log lines and pages quote of what others have written, so that nobody makes them
// longer than they are meant to be.
package clip

import "strings"

// Input shortens what an error quotes of bad input, to 64 bytes.
func Input(s string) string { return To(s, 64) }

// To shortens a text to n bytes, without half a character at its end, and says so by an ellipsis behind them.
func To(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
