// Package disktest has file systems for tests of what is written through package disk.
package disktest
