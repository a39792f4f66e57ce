// Package config turns a YAML file, RTCD_… environment variables and flags into
// one validated [Config], and tells where each value came from.
//
// Flags win over the environment, the environment over the file, the file over
// the defaults. Nothing is guessed: an unknown key, a key written twice, a value
// of the wrong type or out of range is a [Fault], and [Load] collects every fault
// before it returns, each with its line, a caret and the key's path.
//
// In the file 0 means unlimited and "" means off. Relative paths in the file are
// relative to the file's directory, others to the working directory.
//
// The package reads the file and the secret files that it names, and nothing
// else: it opens no socket, looks nothing up and makes up no secret. Only
// cmd/rtcd imports it.
package config
