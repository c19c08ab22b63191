package main

import (
	"regexp"
	"testing"
)

// TestSmoke sees that every test works, with small numbers. What the sizes are is no matter here, but that nothing is lost is.
func TestSmoke(t *testing.T) {
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			o := smokeOptions
			if err := all(t.Context(), &o, regexp.MustCompile("^"+x.name+"$"), ""); err != nil {
				t.Error(err)
			}
		})
	}
}
