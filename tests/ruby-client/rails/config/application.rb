# frozen_string_literal: true

require "active_job/railtie"
require "active_record/railtie"
require "action_controller/railtie"
require "pipecast"

# As small as a Rails application with sessions, records and views can be.
class Application < Rails::Application
  config.load_defaults 6.1
  config.root = File.expand_path("..", __dir__)
  config.eager_load = true
  config.cache_classes = true
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE")
  config.logger = Logger.new($stdout)
  config.public_file_server.enabled = true
  config.paths["public"] = ENV.fetch("PUBLIC_FOLDER")
  config.active_record.dump_schema_after_migration = false
end
