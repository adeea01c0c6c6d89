# frozen_string_literal: true

require_relative "lib/pipecast/version"

Gem::Specification.new do |spec|
  spec.name = "pipecast"
  spec.version = Pipecast::VERSION
  spec.summary = "Publish to and subscribe to Pipecast, a broker for Server-Sent Events"
  spec.description = "A publisher that retries without duplicates, a sender that batches events, and a subscriber that " \
                     "reconnects and resumes like a browser's EventSource. No dependencies."
  spec.authors = ["The Pipecast authors"]
  spec.license = "Apache-2.0"
  spec.required_ruby_version = ">= 3.1"
  spec.metadata = { "rubygems_mfa_required" => "true" }
  spec.files = Dir["lib/**/*.rb", "README.md", base: __dir__]
  spec.extra_rdoc_files = ["README.md"]
end
