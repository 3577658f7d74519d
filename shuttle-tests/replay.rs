//! A schedule that fails comes back: as a string, and with the command that the failure prints.

use std::env;
use std::process::Command;

use crate::queues::{Broken, Fault, Ring};
use crate::runner::{MAIN, Run, Schedules, Settings, check, explore, test_name};
use crate::scenarios::Program;
use crate::specification::{RelaxedMpmc, satisfies};

/// Loses an element in some schedules.
fn broken(run: &Run) {
    let program = Program::new(2, 0, "++ ++ --");
    let queue = Broken::new(Ring::new(program.capacity, program.start), Fault::LosesWhenTwoPush);
    let history = program.run(run, queue);
    run.saw("a schedule");
    assert!(satisfies::<RelaxedMpmc>(&history), "not what the queue promises:\n{history}");
}

#[test]
fn a_schedule_that_fails_fails_again_when_it_is_replayed() {
    for schedules in [Schedules::Random, Schedules::Pct] {
        for seed in 1..=3 {
            let settings = Settings { schedules, iterations: MAIN, seed, replay: None };
            let failure = explore(&settings, broken).expect_err("a queue that loses an element");
            let replay = Settings { replay: Some(failure.schedule.clone()), ..settings };
            let again = explore(&replay, broken).expect_err("the same schedule");
            assert_eq!((&again.message, &again.schedule), (&failure.message, &failure.schedule));
        }
    }
}

#[test]
fn the_same_seed_finds_the_same_schedule() {
    let find = |seed| {
        let settings = Settings { schedules: Schedules::Random, iterations: MAIN, seed, replay: None };
        explore(&settings, broken).expect_err("a queue that loses an element").schedule
    };
    assert_eq!(find(7), find(7));
    assert_ne!(find(7), find(8));
}

#[test]
#[ignore = "fails, so that the test below sees what a failure prints"]
fn a_model_that_fails() {
    check(test_name!(), Schedules::Random, MAIN, &[], broken);
}

#[test]
fn the_command_that_a_failure_prints_repeats_it() {
    let run = |arguments: &str, seed, replay: Option<(&str, &str)>| {
        let mut command = Command::new(env::current_exe().expect("this test's file"));
        command.args(arguments.split_whitespace()).env_remove("ARENAQ_SHUTTLE_REPLAY").envs(replay);
        command.env("ARENAQ_SHUTTLE_SEED", seed);
        let output = command.output().expect("this file runs");
        assert!(!output.status.success(), "the model fails");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let history = |output: &str| {
        let to = output.find("repeat this schedule").expect("the command");
        let from = output[..to].rfind("not what the queue promises").expect("the message");
        output[from..to].to_owned()
    };

    let first = run("--include-ignored --exact replay::a_model_that_fails", "1", None);
    let command = first.lines().find(|line| line.starts_with("ARENAQ_SHUTTLE_REPLAY")).expect("a command");
    println!("{command}");
    let (variable, cargo) = command.split_once(' ').expect("a variable and a command");
    let (cargo, arguments) = cargo.split_once(" -- ").expect("the arguments of the test");
    assert_eq!(cargo, "cargo test --features shuttle --test shuttle", "which would build this very file");
    let again = run(arguments, "2", variable.split_once('='));
    assert_eq!(history(&again), history(&first));
    let other = run(arguments, "2", None);
    assert_ne!(history(&other), history(&first), "without the schedule, another seed finds another history");
}
