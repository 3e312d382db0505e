package gate

import (
	"context"
	"slices"
)

// Access is who may use a route, and what a caller may use: one includes those before it.
type Access uint8

const (
	Public Access = iota // everybody, once there is an administrator: sign-in and assets
	Read                 // tokens of every scope
	Write                // tokens that may change objects and messages
	Admin                // administrators, and tokens that may do what these may: who else has access
)

// Scopes are the names of what tokens may use.
var Scopes = [...]string{Read: ScopeRead, Write: ScopeWrite, Admin: ScopeAdmin}

func (a Access) String() string { return Scopes[a] }

// AccessOf returns what a scope may use. One that is not known may use nothing.
func AccessOf(scope string) Access { return Access(max(0, slices.Index(Scopes[:], scope))) } // #nosec G115 -- one of four

// Actor is who does something, for permissions and the audit log.
type Actor struct {
	Name   string // administrator, "token NAME" or "client USERNAME"; empty: nobody has signed in
	Via    string // the door: Web, API, Protocol, Callback, Publish, Node or File
	Addr   string // IP address
	Access Access
}

// Doors that an actor comes through.
const (
	Web      = "web"
	API      = "api"
	Protocol = "protocol" // a client's, which may make consumers by itself
	Callback = "callback" // nobody's: the broker sends messages
	Publish  = "publish"  // nobody's: a message made a topic by a template
	Node     = "node"     // the command line, at the port of a node of a cluster: with its keys in hand, it may change who is in it
	File     = "file"     // the command line, with the database file in hand: it may do everything
)

// Names of actors that are no administrators. No administrator can have one of these.
const (
	TokenPrefix  = "token "
	ClientPrefix = "client "
	CommandLine  = "command line"
	Sender       = "callback sender" // who sends messages to the consumers that do not come for them
)

// actorKey is that of the actor in a request's context.
type actorKey struct{}

// WithActor returns the context of a request that comes from who.
func WithActor(ctx context.Context, who Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// ActorOf returns who a request comes from: the zero actor, where nobody has been asked yet.
func ActorOf(ctx context.Context) Actor {
	who, _ := ctx.Value(actorKey{}).(Actor)
	return who
}

// Scopes of tokens.
const (
	ScopeRead  = "read"
	ScopeWrite = "write" // objects and messages, too
	ScopeAdmin = "admin" // administrators, tokens, sessions and the audit log, too
)
