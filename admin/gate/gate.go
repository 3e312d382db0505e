// Package gate is what all rooms of the administration stand on: how the server is reached (Reach), who asks
// and what these may do (Actor, Access), how a list is asked for and answered page by page (Query, List), and
// how a refusal is told (Problem, of RFC 9457). It serves nothing itself.
package gate
