// Package integrate writes the part of another program's configuration that makes it
// use this relay, and reads coturn's configuration to write ours.
//
// An [App] is such a program; [App.Snippet] fills its template in with a [Server]. The
// templates are the files in snippets/, in the syntax of their target; each value goes
// through the quoting of that syntax. [ReadCoturn] takes a turnserver.conf to a
// [Conversion], which tells for every option what became of it.
//
// The package writes text from what it is given: it opens no file and no socket and
// makes up no secret, but for keys that two other programs share.
package integrate
