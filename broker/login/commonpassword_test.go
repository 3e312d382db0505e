package login

import (
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"
)

func TestCommonPassword(t *testing.T) {
	f, err := os.Open("commonpasswords.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Fields(string(text))
	if len(list) < 10_000 {
		t.Errorf("only %d passwords", len(list))
	}
	for _, password := range []string{"password", "PassWord", "123456", "password1234", "1Q2W3E4R5T6Y", list[0], list[len(list)-1]} {
		if !CommonPassword(password) {
			t.Errorf("%q is not known", password)
		}
	}
	for _, password := range []string{"", "a long password", "password ", "password\nwelcome", "correct horse battery staple"} {
		if CommonPassword(password) {
			t.Errorf("%q is known", password)
		}
	}
}
