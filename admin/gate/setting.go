package gate

// Setting is a key of the configuration and its value as a text.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"` // masked where it is a secret
}
