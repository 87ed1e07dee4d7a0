package scan

import (
	"regexp"

	"github.com/google/osv-scalibr/veles/secrets/anthropicapikey"
	"github.com/google/osv-scalibr/veles/secrets/awsaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/azurestorageaccountaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/circleci"
	"github.com/google/osv-scalibr/veles/secrets/cratesioapitoken"
	"github.com/google/osv-scalibr/veles/secrets/denopat"
	"github.com/google/osv-scalibr/veles/secrets/digitaloceanapikey"
	"github.com/google/osv-scalibr/veles/secrets/discordbottoken"
	"github.com/google/osv-scalibr/veles/secrets/dockerhubpat"
	"github.com/google/osv-scalibr/veles/secrets/elasticcloudapikey"
	"github.com/google/osv-scalibr/veles/secrets/gcpapikey"
	"github.com/google/osv-scalibr/veles/secrets/gcpoauth2access"
	"github.com/google/osv-scalibr/veles/secrets/gcpoauth2client"
	"github.com/google/osv-scalibr/veles/secrets/gcpsak"
	"github.com/google/osv-scalibr/veles/secrets/gcshmackey"
	"github.com/google/osv-scalibr/veles/secrets/github"
	"github.com/google/osv-scalibr/veles/secrets/gitlabpat"
	"github.com/google/osv-scalibr/veles/secrets/grokxaiapikey"
	"github.com/google/osv-scalibr/veles/secrets/hashicorpvault"
	"github.com/google/osv-scalibr/veles/secrets/hcp"
	"github.com/google/osv-scalibr/veles/secrets/herokuplatformkey"
	"github.com/google/osv-scalibr/veles/secrets/huggingfaceapikey"
	"github.com/google/osv-scalibr/veles/secrets/npmjsaccesstoken"
	"github.com/google/osv-scalibr/veles/secrets/onepasswordkeys"
	"github.com/google/osv-scalibr/veles/secrets/openai"
	"github.com/google/osv-scalibr/veles/secrets/openrouter"
	"github.com/google/osv-scalibr/veles/secrets/packagist"
	"github.com/google/osv-scalibr/veles/secrets/paystacksecretkey"
	"github.com/google/osv-scalibr/veles/secrets/perplexityapikey"
	"github.com/google/osv-scalibr/veles/secrets/postmanapikey"
	"github.com/google/osv-scalibr/veles/secrets/privatekey"
	"github.com/google/osv-scalibr/veles/secrets/pypiapitoken"
	"github.com/google/osv-scalibr/veles/secrets/rubygemsapikey"
	"github.com/google/osv-scalibr/veles/secrets/sendgrid"
	"github.com/google/osv-scalibr/veles/secrets/slacktoken"
	"github.com/google/osv-scalibr/veles/secrets/squareapikey"
	"github.com/google/osv-scalibr/veles/secrets/stripeapikeys"
	"github.com/google/osv-scalibr/veles/secrets/supabase"
	"github.com/google/osv-scalibr/veles/secrets/telegrambotapitoken"

	"github.com/slipway-build/slipway/internal/sarif"
)

const privateKey = "private-key"

// secretRules are the kinds of secrets that are known, those that say most first. What veles has
// besides is left out where most of what it finds is no secret: passwords in addresses, which
// examples are full of, any JWT, headers and cookies of HTTP.
func secretRules() []secretRule {
	const c, h = sarif.Critical, sarif.High
	return []secretRule{
		{"gcp-service-account", "key of a Google Cloud service account", "", c, gcpsak.NewDetector()},
		{privateKey, "private key", "", c, privatekey.NewDetector()},
		{"aws-access-key", "AWS access key and its secret", "AKIA", c, awsaccesskey.NewDetector()},
		{"gcp-storage-key", "HMAC key of Google Cloud Storage", "GOOG", c, gcshmackey.NewDetector()},
		{"azure-storage-key", "access key of an Azure storage account", "", c, azurestorageaccountaccesskey.NewDetector()},
		{"digitalocean-token", "DigitalOcean API token", "dop_", c, digitaloceanapikey.NewDetector()},
		{"hcp-credentials", "client credentials of the HashiCorp cloud", "", c, hcp.NewPairDetector()},
		{"gcp-api-key", "Google Cloud API key", "AIza", h, gcpapikey.NewDetector()},
		{"gcp-oauth-client", "secret of a Google OAuth client", "GOCS", h, gcpoauth2client.NewDetector()},
		{"gcp-oauth-token", "Google OAuth access token", "ya29", h, gcpoauth2access.NewDetector()},
		{"github-app-token", "token of a GitHub app", "ghs_", h, github.NewAppS2STokenDetector()},
		{"github-app-user-token", "user token of a GitHub app", "ghu_", h, github.NewAppU2SDetector()},
		{"github-refresh-token", "refresh token of a GitHub app", "ghr_", h, github.NewAppRefreshTokenDetector()},
		{"github-oauth-token", "GitHub OAuth token", "gho_", h, github.NewOAuthTokenDetector()},
		{"github-token", "GitHub personal access token", "ghp_", h, github.NewClassicPATDetector()},
		{"github-fine-grained-token", "GitHub fine-grained token", "gith", h, github.NewFineGrainedPATDetector()},
		{"gitlab-token", "GitLab personal access token", "glpa", h, gitlabpat.NewDetector()},
		{"slack-token", "Slack token", "xox", h, pattern{regexp.MustCompile(`\bxox[abprs]-[0-9]{8,14}-[0-9A-Za-z-]{20,200}`)}},
		{"slack-webhook", "Slack webhook", "", h, pattern{regexp.MustCompile(`https://hooks\.slack\.com/(?:services|workflows)/[A-Z0-9]{8,}/[A-Z0-9]{8,}/[0-9A-Za-z]{16,}`)}},
		{"slack-app-token", "Slack app-level token", "xapp", h, slacktoken.NewAppLevelTokenDetector()},
		{"slack-config-token", "Slack configuration token", "xoxe", h, slacktoken.NewAppConfigAccessTokenDetector()},
		{"slack-config-refresh-token", "Slack configuration refresh token", "xoxe", h, slacktoken.NewAppConfigRefreshTokenDetector()},
		{"stripe-key", "Stripe secret key", "sk_l", h, stripeapikeys.NewSecretKeyDetector()},
		{"stripe-restricted-key", "Stripe restricted key", "rk_l", h, stripeapikeys.NewRestrictedKeyDetector()},
		{"stripe-webhook-secret", "Stripe webhook secret", "whse", h, stripeapikeys.NewWebhookSecretDetector()},
		{"npm-token", "npm access token", "npm_", h, npmjsaccesstoken.NewDetector()},
		{"pypi-token", "PyPI API token", "pypi", h, pypiapitoken.NewDetector()},
		{"crates-token", "crates.io API token", "cio", h, cratesioapitoken.NewDetector()},
		{"rubygems-key", "RubyGems API key", "ruby", h, rubygemsapikey.NewDetector()},
		{"packagist-secret", "Packagist API secret", "pack", h, packagist.NewAPISecretDetector()},
		{"packagist-update-token", "Packagist update token", "pack", h, packagist.NewOrgUpdateTokenDetector()},
		{"docker-hub-token", "Docker Hub access token", "dckr", h, dockerhubpat.NewDetector()},
		{"deno-token", "Deno Deploy token", "ddp_", h, denopat.NewUserTokenDetector()},
		{"deno-organization-token", "Deno Deploy organization token", "ddo_", h, denopat.NewOrgTokenDetector()},
		{"circleci-token", "CircleCI personal token", "CCIP", h, circleci.NewPersonalAccessTokenDetector()},
		{"circleci-project-token", "CircleCI project token", "CCIP", h, circleci.NewProjectTokenDetector()},
		{"vault-token", "HashiCorp Vault token", "hv", h, only{hashicorpvault.NewTokenDetector(), []string{"hvs.", "hvb."}}},
		{"vault-app-role", "HashiCorp Vault AppRole", "", h, hashicorpvault.NewAppRoleDetector()},
		{"heroku-key", "Heroku platform key", "HRKU", h, herokuplatformkey.NewSecretKeyDetector()},
		{"elastic-key", "Elastic Cloud API key", "essu", h, elasticcloudapikey.NewDetector()},
		{"1password-secret-key", "1Password secret key", "A3-", h, onepasswordkeys.NewSecretKeyDetector()},
		{"1password-service-token", "1Password service account token", "ops_", h, onepasswordkeys.NewServiceTokenDetector()},
		{"1password-recovery-code", "1Password recovery code", "1PRK", h, onepasswordkeys.NewRecoveryTokenDetector()},
		{"supabase-token", "Supabase access token", "sbp_", h, supabase.NewPATDetector()},
		{"supabase-secret-key", "Supabase secret key", "sb_s", h, supabase.NewProjectSecretKeyDetector()},
		{"supabase-service-role", "Supabase service role key", "", h, supabase.NewServiceRoleJWTDetector()},
		{"square-token", "Square access token", "EAAA", h, squareapikey.NewPersonalAccessTokenDetector()},
		{"square-oauth-secret", "Square OAuth secret", "sq0c", h, squareapikey.NewOAuthApplicationSecretDetector()},
		{"paystack-key", "Paystack secret key", "sk_", h, paystacksecretkey.NewSecretKeyDetector()},
		{"sendgrid-key", "SendGrid API key", "SG.", h, sendgrid.NewDetector()},
		{"postman-key", "Postman API key", "PMAK", h, postmanapikey.NewAPIKeyDetector()},
		{"telegram-token", "Telegram bot token", "", h, telegrambotapitoken.NewDetector()},
		{"discord-token", "Discord bot token", "", h, discordbottoken.NewDetector()},
		{"anthropic-key", "Anthropic API key", "sk-a", h, anthropicapikey.NewDetector()},
		{"openai-key", "OpenAI API key", "sk-", h, openai.NewDetector()},
		{"openrouter-key", "OpenRouter API key", "sk-o", h, openrouter.NewDetector()},
		{"hugging-face-token", "Hugging Face token", "hf_", h, huggingfaceapikey.NewDetector()},
		{"perplexity-key", "Perplexity API key", "pplx", h, perplexityapikey.NewDetector()},
		{"xai-key", "xAI API key", "xai-", h, grokxaiapikey.NewAPIKeyDetector()},
	}
}
