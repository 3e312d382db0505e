//go:build !linux

package command

import (
	"context"
	"io"
)

// taken cannot tell here what the reader of a pipe has taken.
func taken(context.Context, io.Writer) error { return nil }
