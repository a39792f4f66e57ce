// Package supervisor tells the service manager that started this process what it does,
// in systemd's notify protocol (sd_notify(3)), and keeps its watchdog fed for as long as
// the process does its work.
//
// [Ready], [Reloading], [Stopping] and [Status] are what the manager hears; without one
// ($NOTIFY_SOCKET unset) they do nothing. A [Watchdog] makes its checks twice in each
// $WATCHDOG_USEC and reports life only if all of them passed, so that a process that
// still runs but serves nobody is started anew. Its Run returns when its context is done.
//
// What is checked is not known here; see package pulse.
package supervisor
