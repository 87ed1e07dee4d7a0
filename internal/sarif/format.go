package sarif

import "encoding/json"

// What of the format is read and written. Properties that are not here are passed over.
type (
	document struct {
		Schema  string `json:"$schema,omitempty"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}
	run struct {
		Tool      tool                        `json:"tool"`
		Bases     map[string]artifactLocation `json:"originalUriBaseIds,omitempty"`
		Artifacts []artifact                  `json:"artifacts,omitempty"`
		Results   []result                    `json:"results"`
	}
	tool struct {
		Driver     component   `json:"driver"`
		Extensions []component `json:"extensions,omitempty"`
	}
	component struct {
		Name            string `json:"name"`
		Version         string `json:"version,omitempty"`
		SemanticVersion string `json:"semanticVersion,omitempty"`
		Rules           []rule `json:"rules,omitempty"`
	}
	rule struct {
		ID         string             `json:"id"`
		HelpURI    string             `json:"helpUri,omitempty"`
		Short      *message           `json:"shortDescription,omitempty"`
		Full       *message           `json:"fullDescription,omitempty"`
		Messages   map[string]message `json:"messageStrings,omitempty"`
		Default    *configuration     `json:"defaultConfiguration,omitempty"`
		Properties *properties        `json:"properties,omitempty"`
	}
	configuration struct {
		Level string `json:"level,omitempty"`
	}
	properties struct {
		SecuritySeverity json.RawMessage `json:"security-severity,omitempty"` // a string with a number, or a number
	}
	result struct {
		RuleID       string            `json:"ruleId,omitempty"`
		RuleIndex    *int              `json:"ruleIndex,omitempty"`
		Rule         *reference        `json:"rule,omitempty"`
		Kind         string            `json:"kind,omitempty"`
		Level        string            `json:"level,omitempty"`
		Message      message           `json:"message"`
		Locations    []location        `json:"locations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints,omitempty"`
		Suppressions []suppression     `json:"suppressions,omitempty"`
		Baseline     string            `json:"baselineState,omitempty"`
		Properties   *properties       `json:"properties,omitempty"`
	}
	reference struct {
		ID        string     `json:"id,omitempty"`
		Index     *int       `json:"index,omitempty"`
		Component *reference `json:"toolComponent,omitempty"` // of the rule; has an Index only
	}
	message struct {
		Text      string   `json:"text,omitempty"`
		Markdown  string   `json:"markdown,omitempty"`
		ID        string   `json:"id,omitempty"`
		Arguments []string `json:"arguments,omitempty"`
	}
	location struct {
		Physical *physical `json:"physicalLocation,omitempty"`
	}
	physical struct {
		Artifact artifactLocation `json:"artifactLocation"`
		Region   *region          `json:"region,omitempty"`
	}
	artifact struct {
		Location artifactLocation `json:"location"`
	}
	artifactLocation struct {
		URI   string `json:"uri,omitempty"`
		Base  string `json:"uriBaseId,omitempty"`
		Index *int   `json:"index,omitempty"`
	}
	region struct {
		StartLine int `json:"startLine,omitempty"`
	}
	suppression struct {
		Status string `json:"status,omitempty"`
	}
)

const (
	schemaURL = "https://json.schemastore.org/sarif-2.1.0.json"
	version   = "2.1.0"
	// ours is the name of Slipway's own fingerprints.
	ours = "slipway/v1"
)
