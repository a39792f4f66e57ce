package test

import "testing"

type rtcdServer struct{}

func startRTCD(t *testing.T) *rtcdServer         { return nil }
func (s *rtcdServer) target(t *testing.T) target { return startCoturn(t) }
