package main

import "testing"

// A fault that no longer applies would be missed by nobody: this says so in every run
// of the tests, long before somebody plants it.
func TestEveryFaultApplies(t *testing.T) {
	if err := allApply("../.."); err != nil {
		t.Fatal(err)
	}
}
