// Package browser drives Debian's Chromium and Firefox, headless, inside a lab node.
//
// [Open] starts a browser with a profile of its own that trusts the lab's authority, shows a fake camera and asks
// nothing. A [Page] is one tab: it navigates, evaluates asynchronous functions and takes screenshots. Chromium is
// spoken to in the Chrome DevTools Protocol, Firefox in WebDriver BiDi (https://w3c.github.io/webdriver-bidi/); both
// are numbered JSON requests over one WebSocket, and what differs between them is the small interface driver.
//
// [Browser.Close] ends the browser and everything that it has started.
package browser
