// Package ports writes which ports of a server have to be open, as rules that the
// firewall in question understands.
//
// A [Rule] is a range of ports of one protocol with what it is for; [Merge] puts
// those together that overlap. [Formats] are the ways to write them, each made to be
// pasted: commands for a shell, a file for nft, a resource for Terraform. A [Zone]
// is the DNS records that lead to them.
//
// The package writes text. It opens nothing and changes no firewall.
package ports
