// Package address finds the addresses that relayed traffic comes from, as the world
// sees them, and says of each why.
//
// [Decide] is pure: from what the configuration wants, a [Wish], and what is known,
// [Facts], it makes a [Decision]. Around it stand those who find facts: the machine's
// interfaces and routes, the resolver, the metadata service of a cloud, STUN servers.
// A [Finder] keeps the facts up to date while its Run does, and calls when the decision
// has changed; [Find] does it once.
//
// Others are asked only where the wish allows it, and then only where this machine has
// no public address of a family for which nothing is written. What they have said
// stays until they say something else: silence changes nothing. What they say is
// believed only of public addresses, and of STUN servers only where two agree.
//
// The package opens no port and keeps no state on disk. When Run returns, everything
// that it started has ended.
package address
