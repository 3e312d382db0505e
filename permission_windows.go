package main

import "io/fs"

// user is who a process runs as.
type user struct{}

func thisUser() user { return user{} }

// exposure is none: modes do not tell who may do what.
func (user) exposure(string, fs.FileMode) (mode fs.FileMode, command string) { return 0, "" }
