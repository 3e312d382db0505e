package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"pipit/admin/gate"
)

// asset is a file that pages load.
type asset struct {
	content, zipped []byte
	mime            string
}

// assetTypes are the types of assets, by the end of their names.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	"":     "text/plain; charset=utf-8",
}

// assets are all assets by path, below one hash of them all: what has changed has a new URL, so
// that browsers can keep them for good.
var assets = sync.OnceValues(func() (map[string]asset, string) {
	list := map[string]asset{}
	sum := sha256.New()
	err := fs.WalkDir(files, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "assets/")
		mime, known := assetTypes[path.Ext(name)]
		if !known {
			return fmt.Errorf("asset %s is of an unknown type", name)
		}
		fmt.Fprintf(sum, "%s %d\n", name, len(content))
		sum.Write(content)
		list[name] = asset{content, zip(content), mime}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return list, hex.EncodeToString(sum.Sum(nil))[:16]
})

func zip(content []byte) []byte {
	var buf bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // fails for a bad level only
	_, _ = w.Write(content)                                 // memory does not fail
	_ = w.Close()
	return buf.Bytes()
}

// assetURL returns the URL of an asset.
func assetURL(name string) (string, error) {
	list, hash := assets()
	if _, ok := list[name]; !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return gate.AssetsPath + hash + "/" + name, nil
}

// pageAsset answers with an asset, also under an old hash: with that it is not kept.
func pageAsset(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	list, current := assets()
	hash, name, _ := strings.Cut(strings.TrimPrefix(p["file"], "/"), "/")
	f, ok := list[name]
	if !ok {
		return gate.ErrNoRoute
	}
	h := w.Header()
	h.Set("Content-Type", f.mime)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if hash == current {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.content
	if takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = f.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the reader has left: nobody to tell
	return nil
}

// icons are the drawings in assets/icons.svg by name.
var icons = sync.OnceValue(func() map[string]string {
	content, err := files.ReadFile("assets/icons.svg")
	if err != nil {
		panic(err)
	}
	var sprite struct {
		Symbols []struct {
			ID      string `xml:"id,attr"`
			Drawing string `xml:",innerxml"`
		} `xml:"symbol"`
	}
	if err := xml.Unmarshal(content, &sprite); err != nil {
		panic(err)
	}
	list := map[string]string{}
	for _, s := range sprite.Symbols {
		list[s.ID] = strings.TrimSpace(s.Drawing)
	}
	return list
})

// icon returns a drawing to stand beside words: a screen reader skips it.
func icon(name string) (template.HTML, error) {
	drawing, ok := icons()[name]
	if !ok {
		return "", fmt.Errorf("no icon %q", name)
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">` + drawing + `</svg>`), nil // #nosec G203 -- a drawing of icons.svg, which is built in
}
