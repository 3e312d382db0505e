package main

import (
	"os/exec"
	"strings"
	"testing"
)

// What is built is the module's program, also where the module has another path.
func TestProgram(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Name}} {{.Module.Path}}", program()).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "main "+program() {
		t.Errorf("%s: %v %s", program(), err, out)
	}
}
