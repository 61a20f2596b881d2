//! The rules for `m.room.member`: rule 5 of room versions 1 to 5 and 12, rule 4 of versions 6 to 11.
//!
//! The comments give the numbers of versions 1 to 5, of version 7, and of version 12. Version 6 is as 7 with knocking
//! left out; 8 to 11 are as 12 with 4 for the leading 5.

use super::{
    Check, JoinRule, Level, Membership, PowerLevels, Refusal, rule::Rule, selection::authoriser, switches::on,
    views::is_first_creator,
};

impl Check<'_> {
    /// Whether the rules allow this `m.room.member` event, and which one does.
    pub(super) fn member(&self) -> Result<Rule, Refusal> {
        let content = self.event.content();
        let target = self.event.state_key();

        // 5.1 / 4.1 / 5.1
        let complete = target.is_some() && content.contains_key("membership");
        self.reject_if(Rule::MemberMalformed, !complete, || {
            "an `m.room.member` event needs a state key and a `membership`".to_owned()
        })?;
        let target = target.unwrap_or_default();

        // – / – / 5.2 is about signatures: `check_authoriser_signature`.

        match Membership::in_content(content) {
            // 5.2 / 4.2 / 5.3
            Membership::Join => self.join(target),
            // 5.3 / 4.3 / 5.4
            Membership::Invite => self.invite(target),
            // 5.4 / 4.4 / 5.5
            Membership::Leave => self.leave(target),
            // 5.5 / 4.5 / 5.6
            Membership::Ban => self.ban(target),
            // – / 4.6 / 5.7
            Membership::Knock if self.auth.knocking => self.knock(target),
            // 5.6 / 4.7 / 5.8
            Membership::Knock | Membership::Unknown => {
                self.otherwise_reject(Rule::MembershipUnknown, || "the membership is not a known one".to_owned())
            }
        }
    }

    /// 5.2 / 4.2 / 5.3
    fn join(&self, target: &str) -> Result<Rule, Refusal> {
        let sender = self.event.sender();

        // .1
        let after_create = matches!(self.event.prev_events(), [only] if only == self.create.event_id());
        if self.allows(Rule::JoinCreator, after_create && is_first_creator(&self.create, target)) {
            return Ok(Rule::JoinCreator);
        }
        // .2
        self.reject_if(Rule::JoinSender, sender != target, || format!("{sender} cannot join for {target}"))?;
        // .3
        let membership = self.membership(sender);
        self.reject_if(Rule::JoinBanned, membership == Membership::Ban, || format!("{sender} is banned"))?;

        let join_rule = JoinRule::of(self.state.get("m.room.join_rules", "").as_ref());
        let is_in_or_invited = matches!(membership, Membership::Invite | Membership::Join);
        // .4
        if self.allows(Rule::JoinInvited, join_rule.admits_invited(self.version) && is_in_or_invited) {
            return Ok(Rule::JoinInvited);
        }
        // – / – / .5
        if join_rule.is_restricted(self.version) {
            // .5.1
            if self.allows(Rule::JoinRestrictedMember, is_in_or_invited) {
                return Ok(Rule::JoinRestrictedMember);
            }
            // .5.2
            if on(Rule::JoinRestrictedAuthoriser) {
                self.check_authoriser()?;
            }
            // .5.3
            if self.allows(Rule::JoinRestrictedAllow, true) {
                return Ok(Rule::JoinRestrictedAllow);
            }
        }
        // .5 / .5 / .6
        if self.allows(Rule::JoinPublic, join_rule == JoinRule::Public) {
            return Ok(Rule::JoinPublic);
        }
        // .6 / .6 / .7
        self.otherwise_reject(Rule::JoinOtherwise, || {
            format!("the join rule does not admit {sender}, who is not invited or not by a rule that invites")
        })
    }

    /// – / – / 5.3.5.2: whoever vouches for the user is joined and may invite.
    fn check_authoriser(&self) -> Result<(), Refusal> {
        let rule = Rule::JoinRestrictedAuthoriser;
        let authoriser = authoriser(self.event.content());
        self.reject_if(rule, authoriser.is_none(), || {
            "joining a restricted room without an invite needs `join_authorised_via_users_server`".to_owned()
        })?;
        let authoriser = authoriser.unwrap_or_default();
        self.reject_if(rule, self.membership(authoriser) != Membership::Join, || {
            format!("{authoriser}, who vouches for the join, is not joined to the room")
        })?;
        let power_event = self.power_event();
        let power = PowerLevels::new(&self.create, power_event.as_ref());
        let required = power.level(Level::Invite).map_err(|malformed| self.malformed(rule, &malformed))?;
        let level = power.user(authoriser).map_err(|malformed| self.malformed(rule, &malformed))?;
        self.reject_if(rule, !level.reaches(required), || {
            format!("{authoriser}, who vouches for the join, has not the level {required} for inviting")
        })
    }

    /// 5.3 / 4.3 / 5.4
    fn invite(&self, target: &str) -> Result<Rule, Refusal> {
        // .1
        if let Some(invite) = self.event.content().get("third_party_invite") {
            return self.third_party(target, invite);
        }
        let sender = self.event.sender();
        // .2
        self.reject_if(Rule::InviteSenderNotJoined, self.membership(sender) != Membership::Join, || {
            format!("{sender} is not joined to the room")
        })?;
        // .3
        let current = self.membership(target);
        self.reject_if(Rule::InviteTarget, matches!(current, Membership::Join | Membership::Ban), || {
            format!("{target} is joined to the room or banned from it")
        })?;
        let rule = Rule::InviteOtherwise;
        let power_event = self.power_event();
        let power = PowerLevels::new(&self.create, power_event.as_ref());
        let required = power.level(Level::Invite).map_err(|malformed| self.malformed(rule, &malformed))?;
        let level = power.user(sender).map_err(|malformed| self.malformed(rule, &malformed))?;
        // .4
        if self.allows(Rule::InviteLevel, level.reaches(required)) {
            return Ok(Rule::InviteLevel);
        }
        // .5
        self.otherwise_reject(rule, || format!("inviting requires level {required} and {sender} has {level}"))
    }

    /// 5.4 / 4.4 / 5.5
    fn leave(&self, target: &str) -> Result<Rule, Refusal> {
        let sender = self.event.sender();
        let membership = self.membership(sender);
        // .1
        if sender == target && on(Rule::LeaveSelf) {
            let can_leave = matches!(membership, Membership::Invite | Membership::Join)
                || (self.auth.knocking && membership == Membership::Knock);
            self.reject_if(Rule::LeaveSelf, !can_leave, || format!("{sender} is not in the room"))?;
            return Ok(Rule::LeaveSelf);
        }
        // .2
        self.reject_if(Rule::LeaveSenderNotJoined, membership != Membership::Join, || {
            format!("{sender} is not joined to the room")
        })?;
        let rule = Rule::LeaveOtherwise;
        let power_event = self.power_event();
        let power = PowerLevels::new(&self.create, power_event.as_ref());
        let level = power.user(sender).map_err(|malformed| self.malformed(rule, &malformed))?;
        // .3
        if self.membership(target) == Membership::Ban {
            let ban = power.level(Level::Ban).map_err(|malformed| self.malformed(Rule::LeaveUnban, &malformed))?;
            self.reject_if(Rule::LeaveUnban, !level.reaches(ban), || {
                format!("lifting a ban requires level {ban} and {sender} has {level}")
            })?;
        }
        let kick = power.level(Level::Kick).map_err(|malformed| self.malformed(rule, &malformed))?;
        let other = power.user(target).map_err(|malformed| self.malformed(rule, &malformed))?;
        // .4
        if self.allows(Rule::LeaveKick, level.reaches(kick) && other < level) {
            return Ok(Rule::LeaveKick);
        }
        // .5
        self.otherwise_reject(rule, || {
            format!("kicking requires level {kick} and more than {target}'s {other}, and {sender} has {level}")
        })
    }

    /// 5.5 / 4.5 / 5.6
    fn ban(&self, target: &str) -> Result<Rule, Refusal> {
        let sender = self.event.sender();
        // .1
        self.reject_if(Rule::BanSenderNotJoined, self.membership(sender) != Membership::Join, || {
            format!("{sender} is not joined to the room")
        })?;
        let rule = Rule::BanOtherwise;
        let power_event = self.power_event();
        let power = PowerLevels::new(&self.create, power_event.as_ref());
        let ban = power.level(Level::Ban).map_err(|malformed| self.malformed(rule, &malformed))?;
        let level = power.user(sender).map_err(|malformed| self.malformed(rule, &malformed))?;
        let other = power.user(target).map_err(|malformed| self.malformed(rule, &malformed))?;
        // .2
        if self.allows(Rule::BanLevel, level.reaches(ban) && other < level) {
            return Ok(Rule::BanLevel);
        }
        // .3
        self.otherwise_reject(rule, || {
            format!("banning requires level {ban} and more than {target}'s {other}, and {sender} has {level}")
        })
    }

    /// – / 4.6 / 5.7
    fn knock(&self, target: &str) -> Result<Rule, Refusal> {
        let sender = self.event.sender();
        // .1
        let join_rule = JoinRule::of(self.state.get("m.room.join_rules", "").as_ref());
        self.reject_if(Rule::KnockAdmitted, !join_rule.admits_knocks(self.version), || {
            "the join rule does not admit knocking".to_owned()
        })?;
        // .2
        self.reject_if(Rule::KnockSender, sender != target, || format!("{sender} cannot knock for {target}"))?;
        // .3
        let membership = self.membership(sender);
        let outside = !matches!(membership, Membership::Ban | Membership::Invite | Membership::Join);
        if self.allows(Rule::KnockMembership, outside) {
            return Ok(Rule::KnockMembership);
        }
        // .4
        self.otherwise_reject(Rule::KnockOtherwise, || format!("{sender} is banned, invited or joined already"))
    }
}
