"""The tests that `make test-all` runs and `make test` leaves out.

Each stands here with its seconds and the fast test that guards the same promise. The seconds are those of a run of the
whole suite on two cores with nothing compiled before.
"""

SLOW: dict[str, tuple[float, str]] = {
    "test_accessor.py::test_a_sweep_draws_its_discrepancies": (
        5,
        "test_accessor.py::test_the_legend_of_a_sweep_lies_within_the_picture",
    ),
    "test_activations.py::test_averages_of_any_activation_where_closed_forms_are_known[relu]": (
        9,
        "test_activations.py::test_averages_of_any_activation_where_closed_forms_are_known[erf]",
    ),
    "test_activations.py::test_averages_of_any_activation_where_closed_forms_are_known[linear]": (
        7,
        "test_activations.py::test_averages_of_any_activation_where_closed_forms_are_known[erf]",
    ),
    "test_activations.py::test_second_moments_stay_second_moments[kinks]": (
        13,
        "test_integrals.py::test_second_moments_stay_second_moments[erf]",
    ),
    "test_activations.py::test_kinks_and_jumps_off_the_middle_against_integration_along_one_field": (
        8,
        "test_activations.py::test_averages_of_polynomials_are_exact",
    ),
    "test_activations.py::test_sgd_follows_the_theory[hard-sigmoid-sign]": (
        18,
        "test_activations.py::test_sgd_follows_the_theory[tanh-None]",
    ),
    "test_bootstrap.py::test_the_truth_lies_within_the_stated_errors_which_fall_like_the_root_of_the_samples": (
        8,
        "test_bootstrap.py::test_a_resample_is_treated_as_the_data",
    ),
    "test_cli.py::test_every_example_runs": (20, "test_cli.py::test_every_example_is_valid"),
    "test_cli.py::test_reproduce_writes_every_figure_table_and_dataset": (
        156,
        "test_figures.py::test_report_of_the_smallest_study",
    ),
    "test_cli.py::test_a_learning_rate_that_diverges_ends_with_status_1": (
        17,
        "test_theory.py::test_divergence_cuts_the_trajectory",
    ),
    "test_clusters.py::test_the_example_of_clusters": (11, "test_clusters.py::test_what_was_fitted_is_the_law"),
    "test_clusters.py::test_equal_clusters_at_the_origin_are_what_their_theory_says": (
        9,
        "test_mixture_theory.py::test_without_means_it_is_the_conventional_theory",
    ),
    "test_compiled.py::test_a_second_process_neither_traces_nor_compiles_and_gets_the_same_bits": (
        21,
        "test_compiled.py::test_a_program_is_known_by_all_it_depends_on",
    ),
    "test_compiled.py::test_programs_in_memory_leave_room_for_more": (
        12,
        "test_compiled.py::test_the_programs_not_used_for_longest_go_first",
    ),
    "test_datasets.py::test_a_network_of_pytorch_learns_as_simulate_does": (
        8,
        "test_datasets.py::test_pytorch_gets_every_sample_once",
    ),
    "test_datasets.py::test_workers_of_pytorch_that_are_spawned_share_the_samples": (
        13,
        "test_datasets.py::test_pytorch_gets_every_sample_once",
    ),
    "test_diagnosis.py::test_check_writes_a_verdict_a_figure_and_a_dataset": (
        31,
        "test_diagnosis.py::test_check_refuses_with_status_2_and_writes_nothing",
    ),
    "test_diagnosis.py::test_a_mean_is_named_and_the_diagnosis_goes_on_without_it": (
        10,
        "test_diagnosis.py::test_reasons_name_what_breaks",
    ),
    "test_docs.py::test_examples_run[docs/howto/optimal-schedule.md]": (
        47,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_docs.py::test_examples_run[docs/howto/other-inputs.md]": (
        20,
        "test_options.py::test_inputs_that_do_not_change_are_handed_over_as_they_are",
    ),
    "test_docs.py::test_examples_run[docs/howto/own-data.md]": (
        12,
        "test_diagnosis.py::test_data_as_inputs_and_as_latent",
    ),
    "test_docs.py::test_examples_run[docs/tutorial.md]": (47, "test_docs.py::test_examples_run[README.md]"),
    "test_docs.py::test_site": (88, "test_docs.py::test_links_lead_to_files"),
    "test_empirical.py::test_theory_of_the_true_covariance_follows_sgd_on_data_and_the_isotropic_one_does_not": (
        9,
        "test_empirical.py::test_moments_are_those_of_what_is_drawn",
    ),
    "test_empirical.py::test_the_example_of_digits_as_inputs": (6, "test_empirical.py::test_the_example_of_the_digits"),
    "test_diagnosis.py::test_a_rule_is_diagnosed_without_mixture_theory": (
        15,
        "test_diagnosis.py::test_times_are_not_taken_for_labels[second0]",
    ),
    "test_explorer.py::test_every_setting_of_a_file_has_curves[options]": (
        50,
        "test_explorer.py::test_every_setting_of_a_file_has_curves[settings]",
    ),
    "test_explorer.py::test_any_loss_is_shown_with_its_sgd": (
        12,
        "test_explorer.py::test_settings_there_and_back[loss]",
    ),
    "test_explorer.py::test_divergence_is_a_note": (13, "test_explorer.py::test_theory_that_does_not_apply_is_a_note"),
    "test_explorer.py::test_noise_floor_is_of_other_noise_only_where_it_must[mixture]": (
        7,
        "test_explorer.py::test_noise_floor_is_of_other_noise_only_where_it_must[gaussian]",
    ),
    "test_explorer.py::test_the_command_line_reproduces_a_view": (22, "test_explorer.py::test_settings_there_and_back"),
    "test_explorer.py::test_the_address_of_a_sweep_holds_what_was_chosen": (
        8,
        "test_explorer.py::test_pins_are_in_the_address",
    ),
    "test_explorer_page.py::test_a_script_shows_the_same_page": (
        30,
        "test_explorer_page.py::test_slider_moves_the_theory_by_keyboard_alone",
    ),
    "test_explorer_page.py::test_files_are_taken_away_and_opened_again": (
        36,
        "test_explorer.py::test_what_is_taken_away",
    ),
    "test_explorer_page.py::test_only_browsers_that_were_given_the_token_are_answered": (
        7,
        "test_explorer.py::test_the_gate_answers_only_who_has_the_token",
    ),
    "test_explorer_page.py::test_phone": (38, "test_explorer_page.py::test_slider_moves_the_theory_by_keyboard_alone"),
    "test_explorer_page.py::test_pins_survive_in_the_address": (21, "test_explorer.py::test_pins_are_in_the_address"),
    "test_explorer_page.py::test_streams_stops_and_shows_the_numbers": (
        15,
        "test_explorer.py::test_numbers_are_those_of_compare",
    ),
    "test_explorer_page.py::test_sweep": (33, "test_explorer.py::test_points_of_a_sweep_are_its_means"),
    "test_explorer_page.py::test_bad_values_are_explained_beside_the_field": (
        11,
        "test_explorer.py::test_wrong_value_is_explained_beside_its_field_and_the_curves_stay",
    ),
    "test_figures.py::test_discrepancy_shows_diverged_runs": (
        7,
        "test_figures.py::test_discrepancy_draws_a_curve_for_each_m",
    ),
    "test_figures.py::test_discrepancy_where_every_run_diverged_or_no_instance_is_kept": (
        9,
        "test_figures.py::test_discrepancy_draws_a_curve_for_each_m",
    ),
    "test_figures.py::test_example_dynamics_draws_the_mixture_theory_beside_the_conventional": (
        20,
        "test_figures.py::test_example_dynamics_draws_theory_and_both_laws",
    ),
    "test_figures.py::test_universality_marks_where_it_holds": (
        11,
        "test_figures.py::test_verdicts_follow_the_numbers",
    ),
    "test_finite_size.py::test_m_falls_like_one_over_the_root_of_n": (
        9,
        "test_finite_size.py::test_fit_is_least_squares",
    ),
    "test_finite_size.py::test_theory_of_infinite_size_knows_less": (
        9,
        "test_finite_size.py::test_fit_is_least_squares",
    ),
    "test_finite_size.py::test_deviation_starts_at_zero_for_the_instance": (
        9,
        "test_finite_size.py::test_fit_is_least_squares",
    ),
    "test_given_inputs.py::test_independent_and_correlated_inputs_follow_their_theories": (
        18,
        "test_given_inputs.py::test_sgd_sees_the_data_themselves",
    ),
    "test_integrals.py::test_quartic_derivatives_against_differences[relu]": (
        4,
        "test_integrals.py::test_quartic_derivatives_against_differences[erf]",
    ),
    "test_integrals.py::test_second_moments_stay_second_moments[linear]": (
        2,
        "test_integrals.py::test_second_moments_stay_second_moments[erf]",
    ),
    "test_integrals.py::test_second_moments_stay_second_moments[relu]": (
        10,
        "test_integrals.py::test_second_moments_stay_second_moments[erf]",
    ),
    "test_integrals.py::test_four_dimensional_orthants_by_another_path[generic]": (
        2,
        "test_integrals.py::test_four_dimensional_orthants_by_another_path[collinear]",
    ),
    "test_integrals.py::test_four_dimensional_orthants_by_another_path[close pair]": (
        3,
        "test_integrals.py::test_four_dimensional_orthants_by_another_path[two close pairs]",
    ),
    "test_integrals.py::test_four_dimensional_orthants_by_another_path[singular]": (
        3,
        "test_integrals.py::test_four_dimensional_orthants_by_another_path[collinear]",
    ),
    "test_labelled.py::test_theory_follows_sgd_on_the_surrogates_and_predicts_other_networks": (
        40,
        "test_labelled.py::test_check_writes_the_curves_of_labelled_data",
    ),
    "test_labelled.py::test_the_recommended_rate_is_nearly_the_best_of_sgd": (
        40,
        "test_labelled.py::test_classes_that_differ_in_their_means",
    ),
    "test_limit.py::test_instances_approach_the_limit": (12, "test_limit.py::test_gauss_rule_against_the_density"),
    "test_mixture_page.py::test_examples_of_the_page_run": (
        34,
        "test_mixture_theory.py::test_without_means_it_is_the_conventional_theory",
    ),
    "test_mixture_study.py::test_the_finite_term_brings_theory_closer": (
        23,
        "test_mixture_study.py::test_noise_is_the_m_of_one_more_member",
    ),
    "test_mixture_study.py::test_steps_and_chains_err_by_chance": (
        23,
        "test_mixture_study.py::test_noise_is_the_m_of_one_more_member",
    ),
    "test_mixture_study.py::test_mean_fields_of_sgd_fluctuate_as_in_theory": (
        23,
        "test_mixture_study.py::test_noise_is_the_m_of_one_more_member",
    ),
    "test_mixture_study.py::test_blocks_ask_every_theory_that_applies": (
        12,
        "test_mixture_study.py::test_theories_that_diverge_are_recorded",
    ),
    "test_mixture_theory.py::test_sgd_within_standard_errors[two tasks]": (
        9,
        "test_mixture_theory.py::test_sgd_within_standard_errors[erf, two clusters]",
    ),
    "test_mixture_theory.py::test_averages_at_one_state_of_the_chain[tanh]": (
        2,
        "test_mixture_theory.py::test_averages_at_one_state_of_the_chain[erf]",
    ),
    "test_mixture_theory.py::test_averages_at_one_state_of_the_chain[relu, sign]": (
        2,
        "test_mixture_theory.py::test_averages_at_one_state_of_the_chain[erf, sign]",
    ),
    "test_mixture_theory.py::test_averages_of_two_fields_with_means[leaky-relu and sign]": (
        5,
        "test_mixture_theory.py::test_averages_of_two_fields_with_means[tanh]",
    ),
    "test_nonlinearities.py::test_both_engines_evaluate_the_function_alike": (
        13,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel",
    ),
    "test_nonlinearities.py::test_theory_follows_sgd_on_centred_inputs_and_is_refused_without": (
        12,
        "test_nonlinearities.py::test_sgd_sees_centred_inputs_and_reports_their_mean",
    ),
    "test_notebooks.py::test_notebook_runs[own_rule]": (32, "test_docs.py::test_examples_run[docs/howto/own-rule.md]"),
    "test_notebooks.py::test_notebook_runs[own_data]": (27, "test_docs.py::test_examples_run[README.md]"),
    "test_notebooks.py::test_notebook_runs[when_theory_fails]": (21, "test_docs.py::test_examples_run[README.md]"),
    "test_notebooks.py::test_notebook_runs[first_steps]": (46, "test_docs.py::test_examples_run[README.md]"),
    "test_optimal.py::test_the_schedule_of_linear_regression_is_the_known_one": (
        45,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_optimal.py::test_rates_that_all_diverge": (7, "test_optimal.py::test_schedules_that_cannot_be_looked_for"),
    "test_optimal.py::test_the_best_constant_rate_of_linear_regression": (
        33,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_optimal.py::test_the_rate_falls_and_stays_positive": (
        33,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_optimal.py::test_sgd_gains_what_theory_says": (
        33,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_optimal.py::test_a_schedule_upon_a_schedule_is_refused": (
        33,
        "test_optimal.py::test_schedules_that_cannot_be_looked_for",
    ),
    "test_optimal.py::test_schedules_that_cannot_be_looked_for[changes4": (
        14,
        "test_optimal.py::test_schedules_that_cannot_be_looked_for[changes0",
    ),
    "test_optimal.py::test_plateaus_of_soft_committees_are_found_and_not_their_tails": (
        33,
        "test_optimal.py::test_plateaus_of_known_curves",
    ),
    "test_networks.py::test_theory_follows_sgd_of_rules_with_several_tasks": (
        20,
        "test_rules.py::test_metrics_are_those_of_the_present_task_and_of_each",
    ),
    "test_networks.py::test_metrics_of_a_rule_are_followed_on_each_task": (
        20,
        "test_rules.py::test_metrics_are_those_of_the_present_task_and_of_each",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches, decay, dropout]": (
        3,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[dropout": (
        15,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[momentum": (
        4,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[memory": (
        9,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[sphere": (
        16,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[adagrad": (
        7,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[polyak": (
        10,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[clip": (
        9,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[drift": (
        12,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[turn": (
        4,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_batches_of_few_samples_of_n_and_short_memories_are_plain_sgd": (
        6,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_theory_follows_the_sgd_of_the_package_with_each_option": (
        90,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_sgd_on_the_sphere_begins_there": (
        8,
        "test_options.py::test_theory_follows_direct_sgd_with_each_option_and_not_without[batches]",
    ),
    "test_options.py::test_inputs_that_change_with_the_task_follow_sgd_and_their_own_law": (
        30,
        "test_options.py::test_inputs_that_do_not_change_are_handed_over_as_they_are",
    ),
    "test_packaging.py::test_sdist_and_wheel_hold_what_is_needed_and_the_wheel_runs": (
        30,
        "test_packaging.py::test_public_names_have_types_and_docstrings",
    ),
    "test_processes.py::test_joblib_gives_the_same_bits": (11, "test_processes.py::test_instances_travel"),
    "test_processes.py::test_settings_of_jax_change_nothing[theory of a function of one's own]": (
        15,
        "test_processes.py::test_settings_of_jax_change_nothing[theory]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory sign teacher]": (
        15,
        "test_recorded.py::test_numbers_are_those_recorded[theory erf]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory linear teacher of a relu student]": (
        12,
        "test_recorded.py::test_numbers_are_those_recorded[theory relu]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[optimum of a schedule]": (
        12,
        "src/sgdlimit/theory/_optimal.py::sgdlimit.theory._optimal.optimal_schedule",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory switch times and all options]": (
        9,
        "test_recorded.py::test_numbers_are_those_recorded[theory switch times]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory own activation]": (
        8,
        "test_recorded.py::test_numbers_are_those_recorded[theory tanh by quadrature]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory own nonlinearity]": (
        4,
        "test_recorded.py::test_numbers_are_those_recorded[theory erf manifold]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory schedule]": (
        8,
        "test_training.py::test_without_noise_a_schedule_is_another_clock",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory all options]": (
        8,
        "test_training.py::test_without_noise_a_schedule_is_another_clock",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory infinite size]": (
        4,
        "test_limit.py::test_gauss_rule_against_the_density",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory phase diagram]": (
        4,
        "test_optimal.py::test_cells_that_diverge_are_marked",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[sgd jax ": (
        60,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[sgd diagnosis]": (
        5,
        "test_diagnosis.py::test_a_diagnosis_is_the_same_bits_again",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory hermite-2]": (
        9,
        "test_recorded.py::test_numbers_are_those_recorded[theory tanh by quadrature]",
    ),
    "test_recorded.py::test_numbers_are_those_recorded[theory K=3, M=1]": (
        5,
        "test_recorded.py::test_numbers_are_those_recorded[theory erf]",
    ),
    "test_reduced.py::test_a_large_spectrum_at_a_size_where_both_ways_can_be_had": (
        22,
        "test_reduced.py::test_block_tridiagonal_form_keeps_the_eigenvalues",
    ),
    "test_reduced.py::test_divergence_of_one_case_leaves_the_others": (
        19,
        "test_theory.py::test_divergence_cuts_the_trajectory",
    ),
    "test_reduced.py::test_reduced_spectra_have_the_trajectories_of_all_nodes[0-70-1e-06-relu]": (
        25,
        "test_reduced.py::test_reduced_spectra_have_the_trajectories_of_all_nodes[0-70-1e-06-erf]",
    ),
    "test_reduced.py::test_reduced_spectra_have_the_trajectories_of_all_nodes[5-70-1e-05-relu]": (
        5,
        "test_reduced.py::test_reduced_spectra_have_the_trajectories_of_all_nodes[5-70-1e-05-erf]",
    ),
    "test_reduced.py::test_large_spectra_have_the_trajectories_of_diagonalised_ones[erf-erf]": (
        6,
        "test_reduced.py::test_large_spectra_have_the_trajectories_of_diagonalised_ones[erf-sign]",
    ),
    "test_reduced.py::test_large_spectra_have_the_trajectories_of_diagonalised_ones[relu-sign]": (
        6,
        "test_reduced.py::test_large_spectra_have_the_trajectories_of_diagonalised_ones[erf-sign]",
    ),
    "test_report_page.py::test_the_pointer_reads_the_nearest_point": (
        14,
        "test_report_page.py::test_what_is_read_off_is_what_is_drawn",
    ),
    "test_report_page.py::test_without_scripts_everything_is_there": (
        23,
        "test_report_page.py::test_it_fits_its_window_and_needs_nothing_else[390-False]",
    ),
    "test_report_page.py::test_it_fits_its_window_and_needs_nothing_else[1280-": (
        10,
        "test_report_page.py::test_it_fits_its_window_and_needs_nothing_else[390-",
    ),
    "test_report_page.py::test_the_keyboard_walks_along_curves_and_says_so": (
        10,
        "test_report_page.py::test_what_is_read_off_is_what_is_drawn",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[perceptron]": (
        3,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[logistic]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[hebb]": (
        3,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[logistic]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[feedback]": (
        3,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[logistic]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[batches]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[decay]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[schedule]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[dropout]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[momentum]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[sphere]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[adagrad]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[decay, momentum]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[polyak]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[clip]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[several]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[memory]": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_option[sphere, memory]",
    ),
    "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_in_batches_of_updates_of_several_samples": (
        2,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[episodes]",
    ),
    "test_rules_sgd.py::test_labels_are_the_clusters_that_latents_come_from[one]": (
        2,
        "test_rules_sgd.py::test_labels_are_the_clusters_that_latents_come_from[blocks]",
    ),
    "test_rules_sgd.py::test_labels_are_the_clusters_that_latents_come_from[fitted]": (
        2,
        "test_rules_sgd.py::test_labels_are_the_clusters_that_latents_come_from[blocks]",
    ),
    "test_rules_sgd.py::test_theory_follows_sgd_of_a_rule[logistic]": (
        12,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[logistic]",
    ),
    "test_rules_sgd.py::test_theory_follows_sgd_of_a_rule[feedback]": (
        12,
        "test_rules_sgd.py::test_blocks_take_the_steps_of_numpy_with_each_rule[logistic]",
    ),
    "test_simulation.py::test_predicted_memory_is_what_a_run_takes": (
        52,
        "test_simulation.py::test_memory_is_flat_in_the_steps_and_what_does_not_fit_is_refused",
    ),
    "test_simulation.py::test_engines_draw_the_same_samples": (
        7,
        "test_simulation.py::test_engines_agree_step_by_step_on_given_samples",
    ),
    "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[sign-linear]": (
        2,
        "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[sign-erf]",
    ),
    "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[erf-": (
        17,
        "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[sign-",
    ),
    "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[identity-": (
        17,
        "test_simulation.py::test_engines_agree_step_by_step_on_given_samples[sign-",
    ),
    "test_simulation.py::test_divergence_with_the_jax_engine_is_cut_too": (
        6,
        "test_simulation.py::test_divergence_cuts_the_trajectory_and_says_when",
    ),
    "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[2-": (
        2.6,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-1]",
    ),
    "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[4-": (
        2.6,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-1]",
    ),
    "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[5-": (
        2.6,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-1]",
    ),
    "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[6-": (
        2.6,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-1]",
    ),
    "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[7-": (
        2.6,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-1]",
    ),
    "test_stiff.py::test_implicit_steps_arrive_where_explicit_ones_do[1.0]": (
        16,
        "test_stiff.py::test_the_jacobian_of_an_implicit_step_is_exact",
    ),
    "test_stiff.py::test_implicit_steps_arrive_where_explicit_ones_do[2.0]": (
        1,
        "test_stiff.py::test_the_jacobian_of_an_implicit_step_is_exact",
    ),
    "test_sweep.py::test_rules_are_swept_by_name": (
        10,
        "test_networks.py::test_a_sweep_stores_what_is_measured_of_its_networks",
    ),
    "test_sweep.py::test_conditions_with_other_units_tasks_and_sizes_fill_up_with_nan": (
        38,
        "test_sweep.py::test_a_grid_over_training_and_whole_tables",
    ),
    "test_sweep.py::test_large_tasks_are_split_and_have_the_same_numbers": (
        7,
        "test_sweep.py::test_trajectories_and_m_are_those_of_solve_simulate_and_compare",
    ),
    "test_sweep_engines.py::test_workers_come_and_are_killed_and_the_scheduler_dies": (
        37,
        "test_sweep_engines.py::test_a_task_of_a_lost_worker_is_computed_by_another",
    ),
    "test_sweep_engines.py::test_local_workers_give_the_same_bits_on_one_core_each_without_sockets": (
        40,
        "test_sweep_engines.py::test_a_task_of_a_lost_worker_is_computed_by_another",
    ),
    "test_sweep_engines.py::test_a_program_is_not_run_again_by_its_workers": (
        20,
        "test_sweep_engines.py::test_a_task_of_a_lost_worker_is_computed_by_another",
    ),
    "test_sweep_faults.py::test_killed_at_a_random_moment_of_real_work": (
        18,
        "test_sweep_faults.py::test_killed_in_the_middle_of_a_write",
    ),
    "test_sweep_faults.py::test_two_processes_without_a_lock_write_the_same": (
        9,
        "test_sweep_faults.py::test_two_processes_on_one_store",
    ),
    "test_sweep_faults.py::test_sgd_that_diverges_does_not_stop_a_sweep": (
        17,
        "test_sweep.py::test_a_divergence_is_a_result",
    ),
    "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places1]": (
        6,
        "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places0]",
    ),
    "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places2]": (
        6,
        "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places0]",
    ),
    "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places3]": (
        8,
        "test_sweep_faults.py::test_killed_in_the_middle_of_a_write[places0]",
    ),
    "test_sweep_settings.py::test_as_many_conditions_as_are_allowed_do_not_take_minutes": (
        8,
        "test_sweep_settings.py::test_what_is_too_large_is_refused_at_once",
    ),
    "test_theory.py::test_layers_stay_balanced[relu]": (3, "test_theory.py::test_layers_stay_balanced[linear]"),
    "test_theory.py::test_who_knows_the_teacher_rests[relu]": (
        2,
        "test_theory.py::test_who_knows_the_teacher_rests[erf]",
    ),
    "test_theory.py::test_gradients_through_a_trajectory": (
        38,
        "test_integrals.py::test_automatic_derivatives_of_the_correlation",
    ),
    "test_theory.py::test_batches_are_their_members": (14, "test_reduced.py::test_batches_are_their_members"),
    "test_theory.py::test_a_student_equal_to_its_teacher_stays[4-": (
        11,
        "test_theory.py::test_a_student_equal_to_its_teacher_stays[2-relu]",
    ),
    "test_theory.py::test_forces_are_derivatives_of_the_generalisation_error[relu]": (
        7,
        "test_theory.py::test_forces_are_derivatives_of_the_generalisation_error[erf]",
    ),
    "test_theory.py::test_duplicated_students_act_as_one_of_summed_weight[relu]": (
        5,
        "test_theory.py::test_duplicated_students_act_as_one_of_summed_weight[erf]",
    ),
    "test_traced_functions.py::test_tables_are_the_functions": (16, "test_functions.py::test_slopes_are_derivatives"),
    "test_rules.py::test_equal_students_part_where_the_rule_tells_them_apart": (
        10,
        "test_theory.py::test_symmetric_starts_are_known",
    ),
    "test_rules.py::test_hebb_in_closed_form": (
        5,
        "test_rules.py::test_a_unit_that_learns_from_errors[perceptron-of_perceptron]",
    ),
    "test_rules.py::test_label_noise_leaves_an_error_over_points": (
        5,
        "test_theory.py::test_label_noise_leaves_a_small_error_that_is_resolved",
    ),
    "test_stiff.py::test_implicit_steps_of_a_logistic_loss_arrive_where_explicit_ones_do": (
        40,
        "test_stiff.py::test_the_jacobian_of_an_implicit_step_is_exact",
    ),
    "test_rules.py::test_labels_that_jump_have_the_errors_they_state": (
        60,
        "test_rules.py::test_points_stay_where_they_are_until_a_teacher_is_nearly_known",
    ),
    "test_rules.py::test_late_times_of_units_that_rarely_err": (
        15,
        "test_rules.py::test_a_unit_that_learns_from_errors[perceptron",
    ),
    "test_rules.py::test_the_squared_loss_over_points_has_the_errors_it_states[relu]": (
        20,
        "test_rules.py::test_the_squared_loss_over_points_has_the_errors_it_states[erf]",
    ),
    "test_rules.py::test_a_linear_unit_learns_below_its_largest_rate_and_diverges_above": (
        15,
        "test_rules.py::test_the_largest_learning_rates",
    ),
    "test_rules.py::test_trajectory_of_veiga_and_others": (
        40,
        "test_theory.py::test_reference_trajectories[erf]",
    ),
    "test_rules.py::test_trajectory_of_a_phase_diagram": (
        30,
        "test_theory.py::test_reference_trajectories[erf]",
    ),
    "test_rules.py::test_equal_students_are_one_unit_for_ever": (
        10,
        "test_theory.py::test_equal_students_are_one_unit_for_ever",
    ),
    "test_rules.py::test_a_symmetric_start_that_sgd_would_leave_is_named": (
        15,
        "test_theory.py::test_a_symmetric_start_that_sgd_would_leave_is_named",
    ),
    "test_rules.py::test_an_accuracy_that_points_do_not_reach_is_named": (
        20,
        "test_rules.py::test_a_rule_that_cannot_be",
    ),
    "test_rules.py::test_symmetric_plateau_of_a_soft_committee_over_points": (
        6,
        "test_theory.py::test_symmetric_plateau_of_soft_committees",
    ),
    "test_rules.py::test_a_unit_that_learns_from_errors[adatron": (
        5,
        "test_rules.py::test_a_unit_that_learns_from_errors[perceptron",
    ),
    "test_training.py::test_the_example_of_two_tasks": (
        25,
        "test_training.py::test_the_next_task_starts_where_the_last_one_ended",
    ),
    "test_training.py::test_theory_follows_sgd_with_each_option_and_not_without": (
        40,
        "test_training.py::test_label_noise_leaves_an_error_in_closed_form",
    ),
    "test_training.py::test_sgd_takes_the_steps_of_numpy[1-jax]": (
        4,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[1-1]",
    ),
    "test_training.py::test_sgd_takes_the_steps_of_numpy[3-jax]": (
        5,
        "test_simulation.py::test_the_scan_takes_the_steps_of_the_kernel[8-3]",
    ),
    "test_universality.py::test_sgd_is_within_its_standard_error_of_the_theory[relu]": (
        8,
        "test_universality.py::test_sgd_is_within_its_standard_error_of_the_theory[erf]",
    ),
    "test_universality.py::test_standardised_mixtures_are_flat_in_the_spread_and_clusters_are_not[relu]": (
        4,
        "test_universality.py::test_standardised_mixtures_are_flat_in_the_spread_and_clusters_are_not[erf]",
    ),
}
"""The beginning of a test's name, or the whole of it without its parameters."""


def entry(nodeid: str) -> str | None:
    """The line of the table that a test belongs to."""
    name = nodeid.removeprefix("tests/")
    return next(
        (key for key in SLOW if name.startswith(key) and ("[" in key or name[len(key) :][:1] in ("", "["))), None
    )
