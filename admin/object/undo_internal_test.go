package object

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// What can be taken back is bounded, in number and in time.
func TestUndoBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Objects{}
		for i := range maxUndos + 1 {
			o.undos.add(Undo{Key: fmt.Sprint(i)})
		}
		if n := len(o.Undos()); n != maxUndos || o.Undoable("0") != nil || o.Undos()[0].Key != fmt.Sprint(maxUndos) {
			t.Errorf("%d are kept: %+v", n, o.Undos())
		}
		time.Sleep(UndoTime)
		synctest.Wait()
		if n := len(o.Undos()); n != 0 {
			t.Errorf("%d after %s", n, UndoTime)
		}
	})
}
