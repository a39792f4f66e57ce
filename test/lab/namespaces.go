package lab

// Namespaces are those of the router and of every node, for ip-netns(8).
func (n *Net) Namespaces() []string {
	list := []string{n.router}
	for _, node := range n.nodes {
		list = append(list, node.ns)
	}
	return list
}
