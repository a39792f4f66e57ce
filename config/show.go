package config

// Row is one key of [Loaded.Rows].
type Row struct {
	Path  string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// Rows lists every key with its effective value and where that came from.
// Secrets are masked.
func (l *Loaded) Rows() []Row {
	fields := Fields(&l.Config)
	rows := make([]Row, len(fields))
	for i, f := range fields {
		rows[i] = Row{Path: f.Path, Value: f.Text(), From: "default"}
		if p, ok := l.From[f.Path]; ok {
			rows[i].From = p.String()
		}
		if f.Secret && rows[i].Value != "" {
			rows[i].Value = masked(rows[i].Value)
		}
	}
	return rows
}
