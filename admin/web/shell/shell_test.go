package shell

import "testing"

func TestVariable(t *testing.T) {
	for username, want := range map[string]string{
		"shop": "SHOP_PASSWORD", "Shop-2.eu": "SHOP_2_EU_PASSWORD", "7up": "_7UP_PASSWORD", "a b$c": "A_B_C_PASSWORD", "é": "__PASSWORD", "": "__PASSWORD",
	} {
		if got := Variable(username); got != want {
			t.Errorf("%q: %s, want %s", username, got, want)
		}
	}
}
