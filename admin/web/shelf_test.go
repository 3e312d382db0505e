package web

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestShelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shelf
		key := s.put("ada", "secret")
		got := func(session, key string) string {
			v, _ := shelvedOf[string](&s, session, key)
			return v
		}
		if v := got("ada", key); v != "secret" {
			t.Errorf("%q", v)
		}
		if v := got("bob", key); v != "" {
			t.Errorf("another session gets %q", v)
		}
		if _, ok := shelvedOf[int](&s, "ada", key); ok {
			t.Error("it is taken for another type")
		}
		time.Sleep(shelfTime - time.Nanosecond) // lint:sleep fake time
		if got("ada", key) == "" {
			t.Error("gone too early")
		}
		time.Sleep(time.Nanosecond) // lint:sleep fake time
		synctest.Wait()
		if got("ada", key) != "" || s.list != nil {
			t.Error("it is still there")
		}
		first := s.put("ada", "first")
		for i := range maxShelf {
			s.put("ada", fmt.Sprint(i))
		}
		if got("ada", first) != "" || len(s.list) != maxShelf {
			t.Errorf("%d are kept", len(s.list))
		}
	})
}
