// Package web holds the pages of rtcd and the JavaScript client library they are
// made with: the landing page, the check page, the applications, and /sdk/rtcd.js.
//
//	GET /            landing page
//	GET /check       diagnosis of the relay, from a browser
//	GET /apps/call   a call of up to six, with a chat
//	GET /apps/chat   a chat by data channels, with the server as the fallback
//	GET /apps/files  files of any size
//	GET /apps/pair   the devices of one person: text and files
//	GET /sdk/*.js    ES modules for other pages: rtcd.js (the hub, calls, data, files), check.js (the measuring); README.md
//	GET /assets/*    what the pages load
//	GET /i18n/*.json their words, one file per language
//
// Everything is embedded: plain HTML, CSS and ES modules, no bundler, no request
// to any other host. [Handler] answers with strict headers (nothing inline runs,
// no other site may frame the pages), with an entity tag on everything, and
// compressed where the browser takes it. It starts no goroutine and has nothing
// to shut down.
//
// The package knows nothing of rooms or credentials. The pages ask the same
// public interfaces as any other client: /api/v1/info, /api/v1/ice-servers and
// the WebSocket /ws. A join token stays in the fragment of the address, which
// browsers do not send.
package web
