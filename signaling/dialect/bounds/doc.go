// Package bounds keeps a dialect's channel within limits, whatever carries it. Queue
// holds what is to go out: a slow client slows down whoever sends to it, for a while, and
// then is cut off. Pace slows down what comes in: a flood waits in its own socket.
package bounds
