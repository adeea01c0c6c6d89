# frozen_string_literal: true

ActiveRecord::Schema.define(version: 1) do
  create_table :received_events do |t|
    t.string :event_id, null: false, index: { unique: true }
    t.string :channel, null: false
    t.json :payload
  end

  create_table :notes do |t|
    t.string :user, null: false
    t.string :text, null: false
  end
end
