package manifest

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// sourceLine begins the line of a document in which rendering says which file of the repository its objects come from.
const sourceLine = "# Source: "

// Located are refusals of objects of a release with the files that these come from, as far as its text says it.
func Located(refused []Refusal, text []byte) []Refusal {
	if len(refused) == 0 {
		return refused
	}
	files := sources(text)
	refused = slices.Clone(refused)
	for i := range refused {
		r := &refused[i]
		_, document, found := strings.Cut(r.Object, "document ")
		if number, _, _ := strings.Cut(document, ","); found {
			r.File = files["document "+number]
		} else {
			r.File = files[r.Object]
		}
	}
	return refused
}

// sources are the files of documents, by their number as Parse counts them and by the objects in them.
func sources(text []byte) map[string]string {
	out := map[string]string{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if err != nil {
			return out
		}
		file := source(doc)
		if file == "" {
			continue
		}
		at := fmt.Sprintf("document %d", n)
		out[at] = file
		objs, _ := parseDocument(at, doc)
		for _, obj := range objs {
			name := RefOf(obj).String()
			if before := out[name]; before != "" && before != file { // another group has a kind of the same name
				file = before + " or " + file
			}
			out[name] = file
		}
	}
}

// source is what the first line of a document says; empty: nothing.
func source(doc []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimPrefix(doc, []byte("---\n")), []byte("\n"))
	file, ok := strings.CutPrefix(string(line), sourceLine)
	if !ok {
		return ""
	}
	return strings.TrimSpace(file)
}
