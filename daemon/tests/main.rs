//! The stories of the daemon, in one program: linking one for each would take longer than they run.
//!
//! A module is a story, or a folder of them where a room has many; `support` starts the processes that they need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "stories print figures, and what they leave out"
)]
#![allow(unreachable_pub, reason = "`pub` means: for every story")]

mod api;
mod api_document;
mod architecture;
mod audio_worker;
mod backlog;
mod broker;
mod broker_full;
mod budget;
mod canceled;
mod channels;
mod chaos;
mod check;
mod config_command;
mod containers;
mod dashboards;
mod directory;
mod directory_burst;
mod doctor;
mod dropped_answers;
mod errors_page;
mod every_fault_often;
mod examples;
mod exchanged_folders;
mod explain;
mod families;
mod faults;
mod fence;
mod files_of_plugins;
mod folder_log;
mod folder_to_event;
mod forget;
mod hostile_writers;
mod inbox;
mod intake;
mod killed_at_the_submit;
mod large_events;
mod late_disks;
mod leaf_node;
mod ledger_check_sees_each_violation;
mod ledger_damage;
mod local_faults;
mod log_lines;
mod long_recordings;
mod many_tasks;
mod nats_service;
mod own_bucket;
mod own_server;
mod page;
mod page_figures;
mod paused;
mod pipeline;
mod pipeline_leaves_nothing;
mod plugins;
mod plugins_command;
mod plugins_in_the_daemon;
mod plugins_kit;
mod plugins_that_ship;
mod priorities;
mod private_state;
mod real_speech;
mod recipes;
mod recognize;
mod redacted;
mod reload;
mod replay;
mod results_expire;
mod retried;
mod rights;
mod said_while_heard;
mod schema_command;
mod stalled;
mod streams_of_the_operator;
mod submit_and_tail;
mod support;
mod support_itself;
mod systemd;
mod text_from_outside;
mod two_daemons;
mod unusual_audio;
mod webhooks;
