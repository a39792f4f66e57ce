// Package manual runs what the documentation tells people to type: each block of commands
// (```sh) of docs/*.md, page by page and in order, as root on a copy of this machine that is
// thrown away afterwards.
//
// The copy is an overlay of the root directory in namespaces of its own, with a dummy
// network card that has the addresses of rtc.example.com and no way out. systemd does not
// run there: world/systemctl and world/journalctl stand in for it, and start rtcd as its
// unit does, but without the sandbox. On every page but the one about the installation,
// rtcd is installed, set up and running before the first block.
//
// Blocks of configuration (```yaml) have to be accepted by rtcd as they stand, those of
// JavaScript by node. What is shown of the output is ```text, and is not compared.
// Each page exists in English (docs) and Chinese (docs/zh), with the same blocks.
package manual
