package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxLine bounds what is read of standard input.
const maxLine = 4096 // bytes

// input is where a command reads from, and who is asked.
type input struct {
	stdin io.Reader
	out   *output
}

// secret asks for a password or the like, twice where it is a new one that a person types, without
// echo. Where standard input is no terminal its first line is the secret, which is not to be empty.
func (in *input) secret(ctx context.Context, what string, twice bool) (string, error) {
	fd, ok := Terminal(in.stdin)
	if !ok {
		line, err := bufio.NewReader(io.LimitReader(in.stdin, maxLine)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		line = strings.TrimPrefix(line, "\ufeff") // a byte order mark, of files from Windows
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", usageError{fmt.Errorf("no %s: give it on a line of standard input", what)}
		}
		return line, nil
	}
	s, err := in.unseen(ctx, fd, strings.ToUpper(what[:1])+what[1:])
	if err != nil || !twice {
		return s, err
	}
	again, err := in.unseen(ctx, fd, "Again")
	if err != nil {
		return "", err
	}
	if again != s {
		return "", errors.New("what was typed differs")
	}
	return s, nil
}

// unseen reads a line from a terminal, which does not show it. When ctx ends the terminal is left
// as it was.
func (in *input) unseen(ctx context.Context, fd int, prompt string) (string, error) {
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(in.out.stderr, "%s: ", visible(prompt))
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		fmt.Fprintln(in.out.stderr)
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(fd, state)
		fmt.Fprintln(in.out.stderr)
		return "", ctx.Err()
	}
}

// confirmation is the flag of a command that cannot be undone.
type confirmation struct{ yes bool }

func (f *confirmation) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// confirm asks a person whether to go on. Where there is none to ask, --yes is needed.
func (in *input) confirm(ctx context.Context, f *confirmation, question string) error {
	if f.yes {
		return nil
	}
	if _, ok := Terminal(in.stdin); !ok {
		return usageError{fmt.Errorf("%s Nobody is here to ask: use --yes", question)}
	}
	fmt.Fprintf(in.out.stderr, "%s [y/N] ", visible(question))
	read := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(in.stdin, maxLine)).ReadString('\n')
		read <- line
	}()
	select {
	case line := <-read:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errors.New("not done")
	case <-ctx.Done():
		fmt.Fprintln(in.out.stderr)
		return ctx.Err()
	}
}
