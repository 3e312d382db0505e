// Package acceptance holds the pages and the API of package admin to what they promise, from outside: in a browser and by the
// OpenAPI document. What drives the one and reads the other is required by this module alone, and by none who embeds Pipit.
package acceptance

import "time"

// What an Admin does.
const (
	keepInterval = time.Minute // how often it writes last uses, and clears away what is over
	maxBody      = 1 << 20     // bytes of a request that has no payload
	policy       = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
