package source

import "testing"

// TestBeside: relative addresses mean what they mean for git.
func TestBeside(t *testing.T) {
	for _, c := range [][3]string{
		{"https://git.example.com/shop/app.git", "../zlib.git", "https://git.example.com/shop/zlib.git"},
		{"https://git.example.com/shop/app", "./zlib", "https://git.example.com/shop/app/zlib"},
		{"https://git.example.com/shop/app", "../../../../zlib", "https://git.example.com/zlib"},
		{"ssh://git@git.example.com:22/shop/app", "../../libs/zlib", "ssh://git@git.example.com:22/libs/zlib"},
		{"git@git.example.com:shop/app.git", "../zlib.git", "git@git.example.com:shop/zlib.git"},
		{"/srv/git/app", "../zlib", "/srv/git/zlib"},
		{"/srv/git/app", "https://elsewhere/zlib", "https://elsewhere/zlib"},
	} {
		if got := beside(remote{address: c[0]}, c[1]); got != c[2] {
			t.Errorf("%s beside %s is %s, want %s", c[1], c[0], got, c[2])
		}
	}
}
