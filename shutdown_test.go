package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shutdown
		var ran []string
		add := func(name string, err error) {
			s.add(name, func() error { ran = append(ran, name); return err })
		}
		add("first", errors.New("one"))
		add("second", nil)
		add("third", errors.New("three"))
		err := s.run(time.Second)
		if !slices.Equal(ran, []string{"third", "second", "first"}) || err == nil || err.Error() != "third: three\nfirst: one" {
			t.Error(ran, err)
		}
		if s.run(time.Second) != nil || len(ran) != 3 {
			t.Error("ran twice")
		}

		release := make(chan struct{})
		s.add("never", nil)
		s.add("slow", func() error { <-release; return nil })
		if err := s.run(time.Second); err == nil || !strings.Contains(err.Error(), "slow: not done after 1s") {
			t.Error(err)
		}
		close(release)
	})
}
