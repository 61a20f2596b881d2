//! Making a room smaller for as long as it still breaks the same law.

use super::plan::{Plan, View, What};

/// The smallest plan found that still `fails`: nothing can be left out of it any more.
pub fn shrink(mut plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    loop {
        let mut smaller = false;
        let mut at = 0;
        // What was tried in vain is not tried again before all the rest was.
        while let Some(candidate) = candidates(&plan).into_iter().nth(at) {
            if fails(&candidate) {
                plan = candidate;
                smaller = true;
            } else {
                at += 1;
            }
        }
        if !smaller {
            return plan;
        }
    }
}

/// Every plan with one thing less.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all: Vec<Plan> = (1..plan.acts.len()).rev().map(|at| without_act(plan, at)).collect();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        if changed != *plan {
            all.push(changed);
        }
    };
    for (at, View { after, wrong }) in plan.views.iter().enumerate() {
        if plan.views.len() > 1 {
            with(&|plan| _ = plan.views.remove(at));
        }
        for lie in 0..wrong.len() {
            with(&|plan| _ = plan.views[at].wrong.remove(lie));
        }
        for earlier in &plan.acts[*after].after {
            with(&|plan| plan.views[at].after = *earlier);
        }
    }
    for (at, act) in plan.acts.iter().enumerate() {
        if act.after.len() > 1 {
            for edge in 0..act.after.len() {
                with(&|plan| _ = plan.acts[at].after.remove(edge));
            }
        }
        with(&|plan| plan.acts[at].stale = None);
        with(&|plan| plan.acts[at].deeper = 1);
        with(&|plan| plan.acts[at].ts = 1);
        if let What::Power(levels) = &act.what {
            for level in 0..levels.len() {
                with(&|plan| {
                    if let What::Power(levels) = &mut plan.acts[at].what {
                        levels.remove(level);
                    }
                });
            }
        }
        if let What::Member(user, membership, Some(_)) = &act.what {
            with(&|plan| plan.acts[at].what = What::Member(*user, membership, None));
        }
        if matches!(&act.what, What::Create(more) if !more.is_empty()) {
            with(&|plan| plan.acts[at].what = What::Create(vec![]));
        }
    }
    all
}

/// Without one act: what came after it comes after what was before it.
fn without_act(plan: &Plan, gone: usize) -> Plan {
    let mut plan = plan.clone();
    let before = plan.acts.remove(gone).after;
    let moved = |at: usize| if at > gone { at - 1 } else { at };
    for act in &mut plan.acts {
        let mut after: Vec<usize> = Vec::new();
        for at in &act.after {
            let instead = if *at == gone { before.clone() } else { vec![moved(*at)] };
            after.extend(instead);
        }
        after.sort_unstable();
        after.dedup();
        act.after = after;
        act.stale = act.stale.map(|(at, bits)| (if at == gone { before[0] } else { moved(at) }, bits));
    }
    for view in &mut plan.views {
        view.after = if view.after == gone { before[0] } else { moved(view.after) };
        view.wrong.retain(|wrong| wrong.act() != gone);
        view.wrong.iter_mut().for_each(|wrong| wrong.set_act(moved(wrong.act())));
    }
    plan
}
