package access

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/login"
	"pipit/broker/property"
)

// administratorKind is the kind of the documents of administrators, whose keys are their names.
const administratorKind = "administrator"

// Limits of administrators.
const (
	MinPassword       = 12 // characters of a new one
	maxAdministrators = 1000
)

// Administrator is somebody who may sign in.
type Administrator struct {
	Name     string    `json:"name"`
	Created  gate.Time `json:"created"`  // when it was made
	Changed  gate.Time `json:"changed"`  // when the password was set
	Sessions int       `json:"sessions"` // how many there are
}

// administratorRecord is an administrator as it is stored.
type administratorRecord struct {
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

// CreateAdministrator creates an administrator. A password has at least 12 characters and at most
// login.MaxPassword bytes, and is neither the name nor a common one. The errors are Invalid, Conflict, and those of
// broker.PutDocuments. Nobody else may change administrators meanwhile.
func CreateAdministrator(ctx context.Context, b *broker.Broker, name, password string) error {
	hash, err := hashPassword(name, password)
	if err != nil {
		return err
	}
	return createAdministrator(ctx, b, name, hash, audit.Document(time.Now(), local, "administrator.create", name, ""))
}

// SetAdministratorPassword changes an administrator's password and ends the sessions that are stored,
// but not those that a running Admin has in memory: that has its own way. The errors are Invalid,
// NotFound, and those of broker.PutDocuments. Nobody else may change administrators meanwhile.
func SetAdministratorPassword(ctx context.Context, b *broker.Broker, name, password string) error {
	hash, err := hashPassword(name, password)
	if err != nil {
		return err
	}
	docs, err := sessionDocuments(b, name)
	if err != nil {
		return err
	}
	return setPassword(ctx, b, name, hash, append(docs, audit.Document(time.Now(), local, "administrator.password", name, ""))...)
}

// local is who acts through the functions of this package.
var local = gate.Actor{Name: gate.CommandLine, Via: gate.File}

// hashPassword checks a name and a password and returns the password's hash.
func hashPassword(name, password string) (string, error) {
	if err := checkAccount(name, password); err != nil {
		return "", err
	}
	return login.HashPassword(password)
}

// checkAccount returns an Invalid error unless an administrator can have a name and a new password.
func checkAccount(name, password string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, gate.TokenPrefix) || strings.HasPrefix(name, gate.ClientPrefix) || name == gate.CommandLine || name == gate.Sender {
		return gate.Invalid("name", "name %q: the audit log has another use for it", name)
	}
	if n := utf8.RuneCountInString(password); n < MinPassword || len(password) > login.MaxPassword {
		return gate.Invalid("password", "password of %d characters in %d bytes: allowed are at least %d characters in at most %d bytes",
			n, len(password), MinPassword, login.MaxPassword)
	}
	if strings.EqualFold(password, name) {
		return gate.Invalid("password", "the password is the name")
	}
	if login.CommonPassword(password) {
		return gate.Invalid("password", "the password is among the commonest, which are tried first")
	}
	return nil
}

// Limits of the names of administrators and tokens, in characters.
const maxName = 64

// checkName returns an Invalid error unless a name is one that an administrator or token can have.
func checkName(name string) error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) ||
		strings.TrimSpace(name) != name || name == "." || name == ".." {
		return gate.Invalid("name", "name %q: allowed are 1 to %d printable characters without a blank at either end", clip.Input(name), maxName)
	}
	return nil
}

// administrator returns an administrator, the zero record where there is none of that name.
func administrator(b *broker.Broker, name string) (r administratorRecord, err error) {
	if checkName(name) != nil {
		return r, nil
	}
	value, err := b.Document(administratorKind, name)
	if value == nil || err != nil {
		return r, err
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("administrator %q: %w", name, err)
	}
	return r, nil
}

// checkShown returns an Invalid error where a new name holds what older ones may: see property.IsHidden.
func checkShown(name string) error {
	if err := property.CheckShown(name); err != nil {
		return gate.Invalid("name", "name %q: %v", name, err)
	}
	return nil
}

func createAdministrator(ctx context.Context, b *broker.Broker, name, hash string, more ...broker.Document) error {
	if err := checkShown(name); err != nil {
		return err
	}
	switch r, err := administrator(b, name); {
	case err != nil:
		return err
	case r.Hash != "":
		return &broker.Error{Code: broker.Conflict, Message: fmt.Sprintf("Administrator %q exists", name), Field: "name"}
	}
	if all, err := b.Documents(administratorKind, "", false, maxAdministrators); err != nil {
		return err
	} else if len(all) == maxAdministrators {
		return broker.Invalidf("administrators: allowed are at most %d", maxAdministrators)
	}
	now := time.Now().UTC()
	return b.PutDocuments(ctx, append(more, broker.Document{Kind: administratorKind, Key: name,
		Value: gate.Encode(administratorRecord{Hash: hash, Created: now, Changed: now})})...)
}

func setPassword(ctx context.Context, b *broker.Broker, name, hash string, more ...broker.Document) error {
	r, err := administrator(b, name)
	if err != nil {
		return err
	}
	if r.Hash == "" {
		return noAdministrator(name)
	}
	r.Hash, r.Changed = hash, time.Now().UTC()
	return b.PutDocuments(ctx, append(more, broker.Document{Kind: administratorKind, Key: name, Value: gate.Encode(r), Secret: true})...)
}

func noAdministrator(name string) error {
	return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("There is no administrator %q", clip.Input(name))}
}

// IsSetUp tells whether a broker has an administrator: before, every token is refused.
func IsSetUp(b *broker.Broker) (bool, error) {
	docs, err := b.Documents(administratorKind, "", false, 1)
	return len(docs) > 0, err
}

// IsSetUp tells whether there is an administrator.
func (u *Users) IsSetUp() bool {
	if u.setUpDone.Load() {
		return true
	}
	is, err := IsSetUp(u.b)
	if err != nil {
		u.log.Error("administrators cannot be read", "error", err)
	}
	if is { // the last one cannot be deleted
		u.setUpDone.Store(true)
	}
	return is
}

// Administrators returns all administrators, by name.
func (u *Users) Administrators() ([]Administrator, error) {
	docs, err := u.b.Documents(administratorKind, "", false, maxAdministrators)
	if err != nil {
		return nil, err
	}
	sessions := map[string]int{}
	for _, s := range u.Sessions(Caller{}) {
		sessions[s.Administrator]++
	}
	all := make([]Administrator, len(docs))
	for i, d := range docs {
		var r administratorRecord
		if err := json.Unmarshal(d.Value, &r); err != nil {
			return nil, fmt.Errorf("administrator %q: %w", d.Key, err)
		}
		all[i] = Administrator{d.Key, gate.TimeOf(r.Created), gate.TimeOf(r.Changed), sessions[d.Key]}
	}
	return all, nil
}

// Administrator returns an administrator. The error is NotFound where there is none.
func (u *Users) Administrator(name string) (Administrator, error) {
	r, err := administrator(u.b, name)
	if err != nil {
		return Administrator{}, err
	}
	if r.Hash == "" {
		return Administrator{}, noAdministrator(name)
	}
	sessions := 0
	for _, s := range u.Sessions(Caller{}) {
		if s.Administrator == name {
			sessions++
		}
	}
	return Administrator{name, gate.TimeOf(r.Created), gate.TimeOf(r.Changed), sessions}, nil
}

// OnlyOneAdministrator tells whether there are not two: the last one cannot be deleted.
func (u *Users) OnlyOneAdministrator() (bool, error) {
	some, err := u.b.Documents(administratorKind, "", false, 2)
	return len(some) < 2, err
}

// newHash is hashPassword for who acts with its own password current, in turn with sign-ins. The errors
// are Invalid and those of confirm.
func (u *Users) newHash(ctx context.Context, who Caller, name, password, current string) (string, error) {
	if err := checkAccount(name, password); err != nil {
		return "", err
	}
	if err := u.confirm(ctx, who, current); err != nil {
		return "", err
	}
	done, err := u.slowHash(ctx, who.Actor)
	if err != nil {
		return "", err
	}
	defer done()
	return login.HashPassword(password)
}

// CreateAdministrator creates an administrator. current is the password of who acts in a session. The
// errors are those of the function CreateAdministrator; Invalid for a wrong current; TooMany, after too many wrong ones, until
// their window ends; and Unavailable.
func (u *Users) CreateAdministrator(ctx context.Context, who Caller, name, password, current string) (Administrator, error) {
	hash, err := u.newHash(ctx, who, name, password, current)
	if err != nil {
		return Administrator{}, err
	}
	u.changing.Lock()
	defer u.changing.Unlock()
	if err := createAdministrator(ctx, u.b, name, hash, u.trail.Entry(who.Actor, "administrator.create", name, "")); err != nil {
		return Administrator{}, err
	}
	return u.Administrator(name)
}

// SetAdministratorPassword changes a password and ends the administrator's sessions, but for the one
// that who acts in. current is the password of who acts in a session. The errors are those of the function
// SetAdministratorPassword; Invalid for a wrong current; TooMany, after too many wrong ones, until their window ends; and Unavailable.
func (u *Users) SetAdministratorPassword(ctx context.Context, who Caller, name, password, current string) error {
	hash, err := u.newHash(ctx, who, name, password, current)
	if err != nil {
		return err
	}
	return u.changeSessions(func(s *session) bool { return s.administrator == name && s != who.session }, func(ended []broker.Document) error {
		return setPassword(ctx, u.b, name, hash, append(ended, u.trail.Entry(who.Actor, "administrator.password", name, ""))...)
	})
}

// DeleteAdministrator deletes an administrator and ends its sessions. Its tokens end, or who takes them
// over. The errors are NotFound, a gate.Refusal for the last one, Invalid where who takes over goes as well,
// gate.ErrNoSignIn where it has gone, and those of broker.PutDocuments.
func (u *Users) DeleteAdministrator(ctx context.Context, who Caller, name string, takeOver bool) error {
	return u.changeSessions(func(s *session) bool { return s.administrator == name }, func(ended []broker.Document) error {
		if r, err := administrator(u.b, name); err != nil {
			return err
		} else if r.Hash == "" {
			return noAdministrator(name)
		}
		if last, err := u.OnlyOneAdministrator(); err != nil {
			return err
		} else if last {
			return gate.Refuse(http.StatusConflict, "last_administrator", "The last administrator cannot be deleted")
		}
		left, err := u.leave(who, name, takeOver)
		if err != nil {
			return err
		}
		if err := u.b.PutDocuments(ctx, append(append(ended, left.docs...), broker.Document{Kind: administratorKind, Key: name, Secret: true},
			u.trail.Entry(who.Actor, "administrator.delete", name, ""))...); err != nil {
			return err
		}
		left.done()
		return nil
	})
}
