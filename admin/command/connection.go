package command

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin"
	"pipit/broker"
	"pipit/broker/store"
)

// connection is how a command reaches the admin API, or a database, by its flags.
type connection struct {
	program *Program

	// Flags.
	server, token, file string
	config              string // of the server, in place of an address
	create              bool   // the database, where there is none; see createFlag

	creates bool     // the command has the flag --create
	payload bool     // the command takes a payload, which a file that is no database may have been meant for
	api     *remote  // see connect
	offline *offline // of --file, else nil
	made    string   // a database that does not last yet; see keep
}

// flags adds those of a command that speaks the admin API.
func (n *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&n.server, "server", "s", "", "`URL` or host:port of the server (default "+defaultServer+")")
	f.StringVar(&n.token, "token", "", "API `token`; others on this machine can see it here: better set PIPIT_TOKEN")
	fileFlag(cmd, &n.file, "database", "work on the database `FILE`, which no server has open; also --file")
	cmd.MarkFlagsMutuallyExclusive("server", "database")
	cmd.MarkFlagsMutuallyExclusive("token", "database")
}

// createFlag is for the commands that a database can begin with. Without it no command makes one.
func (n *connection) createFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&n.create, "create", false, "make the database where there is none")
	cmd.MarkFlagsMutuallyExclusive("create", "server")
}

// connect sets n.api up. Over HTTP nothing is sent yet; a database is opened.
func (n *connection) connect() error {
	if n.api != nil {
		return nil
	}
	if n.file != "" {
		return n.connectFile(n.file)
	}
	if n.create {
		return usageError{errors.New("--create makes a database: name it with --database")}
	}
	s, err := n.settings()
	if err != nil {
		return err
	}
	n.api = &remote{server: s.Server, token: s.Token, other: s.other, http: newHTTPClient(http.DefaultTransport, answerTime)}
	return nil
}

// connectFile opens a database and lets n.api speak to its API.
func (n *connection) connectFile(file string) error {
	b, err := n.openFile(file, "")
	if err != nil {
		if n.payload && !errors.Is(err, store.ErrInUse) {
			return fmt.Errorf("%w: --file is --database, and @%s is the payload that is in a file", err, file)
		}
		return err
	}
	a, err := admin.New(b, admin.Options{Version: n.program.Version, MaxPayload: MaxPayload, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	n.offline = &offline{b, a}
	n.api = &remote{server: "http://" + localHost, http: newHTTPClient(inProcess{a.Local()}, answerTime)}
	return nil
}

// openFile opens a database, with errors that say what to do. why says why it is that one where the
// user has not named it. One that --create makes goes again in close, unless keep is called before.
func (n *connection) openFile(file, why string) (*broker.Broker, error) {
	b, err := n.program.Open(file, false)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, openError(err)
	}
	if n.create {
		_, was := os.Lstat(file)
		if b, err = n.program.Open(file, true); err == nil && errors.Is(was, fs.ErrNotExist) {
			n.made = file
		}
		return b, openError(err)
	}
	var ways []string
	if why != "" {
		err = fmt.Errorf("%w, %s", err, why)
		ways = append(ways, "--database names another")
	}
	if n.creates {
		ways = append(ways, "--create makes it")
	}
	if ways != nil {
		err = fmt.Errorf("%w: %s", err, strings.Join(ways, ", "))
	}
	return nil, openError(err)
}

// databaseFile is the database that an argument names, or --database, or the configuration.
func (n *connection) databaseFile(args []string) (string, error) {
	switch {
	case len(args) > 0 && (n.file != "" || n.config != ""):
		return "", usageError{errors.New("the database is an argument, or that of --database or --config, not several of these")}
	case len(args) > 0:
		return args[0], nil
	case n.file != "":
		return n.file, nil
	}
	file, _, err := n.program.Database(n.config)
	if err != nil {
		return "", err
	}
	return filepath.Abs(file)
}

// stopFirst is openError of a command that no server could run in its place.
func stopFirst(err error) error {
	if errors.Is(err, store.ErrInUse) {
		return fmt.Errorf("%w: where that is a server, stop it first", err)
	}
	return openError(err)
}

func openError(err error) error {
	switch {
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%w: where that is a server, use --server", err)
	case errors.Is(err, fs.ErrNotExist):
		return errNotFound{err}
	}
	return err
}

// close ends what was begun.
func (n *connection) close() (err error) {
	if n.offline != nil {
		err = n.offline.close()
		n.offline = nil
	}
	if n.made != "" {
		err = errors.Join(err, os.Remove(n.made))
	}
	return err
}

// keep lets a database that was made for a command last: what it was to hold is in it.
func (n *connection) keep() { n.made = "" }
