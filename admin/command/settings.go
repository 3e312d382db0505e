package command

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/BurntSushi/toml"
)

// Variables of the environment. The configuration's own have a section in their names: see config/env.go.
const (
	envServer   = "PIPIT_SERVER"
	envToken    = "PIPIT_TOKEN"
	envPassword = "PIPIT_PASSWORD"
	envSubKey   = "PIPIT_SUB_KEY"
)

// Variables are the names of all variables that the command line reads.
var Variables = []string{envServer, envToken, envPassword, envSubKey}

// defaultServer is the first address that a server listens on by default.
const defaultServer = "http://127.0.0.1:11223"

// settings say where the server is and who asks.
type settings struct {
	Server string `toml:"server"`
	Token  string `toml:"token"`

	other string // server that the file's token is for, where it is not Server
}

// settings returns those in force: from flags, else the environment, else the user's file.
func (n *connection) settings() (settings, error) {
	s := settings{Server: n.server, Token: n.token}
	if s.Server == "" && n.config != "" {
		var err error
		if s.Server, err = n.program.Address(n.config); err != nil {
			return s, err
		}
	}
	if s.Server == "" {
		s.Server = n.program.lookup(envServer)
	}
	if s.Token == "" {
		s.Token = n.program.lookup(envToken)
	}
	if s.Server == "" || s.Token == "" {
		f, err := readSettings(settingsFile())
		if err != nil {
			return s, err
		}
		if f.Server == "" {
			f.Server = defaultServer
		}
		if s.Server == "" {
			s.Server = f.Server
		}
		if s.Token == "" && strings.TrimRight(s.Server, "/") == strings.TrimRight(f.Server, "/") {
			s.Token = f.Token // it is a secret of that server: no other one is told
		} else if s.Token == "" && f.Token != "" {
			s.other = f.Server
		}
	}
	return s, s.check()
}

func (s *settings) check() error {
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return usageError{errors.New("the token holds a blank or a character that no token has")}
	}
	return checkServer(&s.Server)
}

// checkServer checks the base URL of a server, and takes the slash from its end.
func checkServer(server *string) error {
	if !strings.Contains(*server, "://") {
		*server = "http://" + *server
	}
	u, err := url.Parse(*server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return usageError{fmt.Errorf("server %q: allowed is a URL such as %s, or host:port", redacted(*server), defaultServer)}
	}
	*server = strings.TrimRight(*server, "/")
	return nil
}

// redacted is a URL without the password that it may hold.
func redacted(s string) string {
	if i := strings.LastIndex(s, "@"); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// settingsFile returns the name of the user's file, empty where the system does not say.
func settingsFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "pipit", "config.toml")
}

// readSettings reads the user's file, where there is one. It is refused where other users can
// read it, since it holds a token.
func readSettings(name string) (s settings, err error) {
	if name == "" {
		return s, nil
	}
	f, err := os.Open(name) // #nosec G304 -- the user names it
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return s, fmt.Errorf("%s is for you alone, and others can use it (mode %04o): chmod 600 %[1]s", name, mode)
	}
	meta, err := toml.NewDecoder(f).Decode(&s)
	if err != nil {
		line := 0
		var p toml.ParseError
		if errors.As(err, &p) {
			line = p.Position.Line // its text may quote the token
		}
		return s, fmt.Errorf("%s:%d: not TOML", name, line)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return s, fmt.Errorf("%s: unknown key %q: allowed are server, token", name, unknown[0])
	}
	return s, nil
}
