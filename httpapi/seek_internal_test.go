package httpapi

import "testing"

func TestParseSeek(t *testing.T) {
	for body, want := range map[string]bool{
		`{"to": "oldest"}`: true, `{"to": "newest"}`: true, `"oldest"`: true, ` "newest" `: true, `{"to": "2026-11-23T09:00:00"}`: true,
		`{"to": "2026-11-23T09:00:00.5Z"}`: true, `{"msg_id": "K…"}`: true,
		``: false, `{}`: false, `{"to": ""}`: false, `{"msg_id": ""}`: false, `{"to": "oldest", "msg_id": "K"}`: false, `{"at": "oldest"}`: false,
		`{"to": 5}`: false, `oldest`: false, `{"to": "2026-11-23T09:00:00+01:00"}`: false, `{"to": "oldest"} x`: false,
	} {
		if to, err := parseSeek([]byte(body)); (err == nil) != want {
			t.Errorf("%s: %+v %v", body, to, err)
		}
	}
}
