package login

import (
	"fmt"
	"unicode/utf8"
)

// strongPassword is a length in characters: a shorter password is taken, and warned about.
const strongPassword = 12

// WeakPassword returns why the password of a name is easily guessed, empty where nothing shows that. The
// text does not tell the password.
func WeakPassword(name, password string) string {
	switch {
	case password == name:
		return "it is the username"
	case utf8.RuneCountInString(password) < strongPassword:
		return fmt.Sprintf("it is shorter than %d characters", strongPassword)
	case CommonPassword(password):
		return "it is one of the commonest"
	}
	return ""
}
