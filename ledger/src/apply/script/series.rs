//! Lines of a script about series.

use super::words::*;
use super::*;
use crate::listing::{Draft, LeaseFilter, LeaseList, LeaseOrder, Reads};
use crate::plan::{SeriesPlan, Tell, Times, plan_series};
use crate::storage::archive::ArchiveReader;

impl World {
    /// `series A 12:00..13:00 every=120 times=3 best n=2 key=1`: minutes between the starts, and how often; its leases are A1, A2
    /// and so on. `plan=h1*2`: so every one, by hand; `left=2`: that one left out by hand; `skip=2`: that one not there at all;
    /// `double=lease`, `double=reservation`: an id used twice.
    pub(super) fn create_series(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease = Self::wish(name, words);
        let StartWish::At(first) = lease.start else {
            return Err(rejection_text(&self.series_plan(lease, words, &[]).unwrap_err()));
        };
        let length = lease.end.0.saturating_sub(first.0);
        let from = |first: Seconds| -> Vec<Occurrence> {
            let at = |place: u32| first.plus(place * 60 * number(words, "every", 60));
            let one = |place: u32| Occurrence { number: place + 1, start: at(place), end: at(place).plus(length) };
            (0..number(words, "times", 2)).map(one).collect()
        };
        let occurrences = from(first);
        let wish = Self::series_wish(lease, words);
        let ids: Vec<Vec<ReservationId>> =
            occurrences.iter().map(|_| wish.lease.reservations.iter().map(|_| ReservationId(self.uuid())).collect()).collect();
        let (plans, left_out): (Vec<_>, Vec<_>) = match option(words, "plan") {
            Some(plan) => {
                let by_hand = |ids: &Vec<ReservationId>| ids.iter().map(|id| self.by_hand(*id, plan)).collect();
                let plans = occurrences.iter().copied().zip(ids.iter().map(by_hand)).collect();
                (plans, Vec::new())
            }
            None => match self.plan_of_series(&wish, Times { asked: &occurrences, from: &|at| Some(from(at)) }, &ids) {
                Ok(found) => {
                    let plans = found.occurrences.into_iter().map(|one| (one.occurrence, one.reservations)).collect();
                    (plans, found.left_out)
                }
                Err(NoPlan::NoRoom(no_room)) => {
                    let number = no_room.occurrence.unwrap();
                    return Err(format!("{} at {number}", self.no_plan(NoPlan::NoRoom(no_room))));
                }
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        self.send_series(name, words, wish, plans, left_out)
    }

    fn series_wish(lease: LeaseWish, words: &[&str]) -> SeriesWish {
        let mode = if words.contains(&"best") { SeriesMode::BestEffort } else { SeriesMode::AllOrNothing };
        let rule = text(option(words, "rule").unwrap_or("FREQ=HOURLY"));
        let time_zone = text(option(words, "tz").unwrap_or("UTC"));
        SeriesWish { lease, recurrence: Recurrence { rule, time_zone, mode } }
    }

    fn plan_of_series(&self, wish: &SeriesWish, times: Times<'_>, ids: &[Vec<ReservationId>]) -> Result<SeriesPlan, NoPlan> {
        plan_series(&self.state, &Overlay::default(), wish, times, ids, self.at, Tell::WhatFits)
    }

    fn series_plan(&self, lease: LeaseWish, words: &[&str], occurrences: &[Occurrence]) -> Result<(), Rejection> {
        let wish = Self::series_wish(lease, words);
        match self.plan_of_series(&wish, Times { asked: occurrences, from: &|_| None }, &[]) {
            Ok(_) => Ok(()),
            Err(NoPlan::Rejected(rejection)) => Err(rejection),
            Err(NoPlan::NoRoom(no_room)) => panic!("{no_room:?}"),
        }
    }

    fn send_series(
        &mut self,
        name: &str,
        words: &[&str],
        wish: SeriesWish,
        plans: Vec<(Occurrence, Vec<PlannedReservation>)>,
        mut left_out: Vec<LeftOut>,
    ) -> Result<String, String> {
        let mut occurrences = Vec::new();
        for (occurrence, plan) in plans {
            occurrences.push(PlannedOccurrence {
                occurrence,
                lease_id: LeaseId(self.uuid()),
                event_ids: (0..6).map(|_| EventId(self.uuid())).collect(),
                resource_ids: wish.lease.reservations.iter().map(|_| self.uuid()).collect(),
                plan,
            });
        }
        if let Some(place) = option(words, "left").or(option(words, "skip")) {
            let place = place.parse::<usize>().unwrap() - 1;
            let occurrence = occurrences.remove(place).occurrence;
            let reason = LeftOutReason::NoRoom { reservation: 0, short_by: 1, largest_amount: 0, tightest: None };
            left_out.extend(option(words, "left").map(|_| LeftOut { occurrence, reason }));
        }
        match option(words, "double") {
            Some("lease") => occurrences[1].lease_id = occurrences[0].lease_id,
            Some("reservation") => occurrences[1].plan[0].reservation_id = occurrences[0].plan[0].reservation_id,
            _ => {}
        }
        let series_id = SeriesId(self.uuid());
        let planned_at = self.state.ledger_index();
        let create = CreateSeries { wish, asked: None, series_id, occurrences, left_out, planned_at };
        match self.tell(key(words), Command::CreateSeries(Box::new(create)))? {
            Reply::SeriesCreated { series_id, leases, left_out, prepared } => {
                self.series.insert(name.to_owned(), series_id);
                let mut text = String::new();
                for SeriesLease { lease_id, occurrence } in leases {
                    self.leases.insert(format!("{name}{}", occurrence.number), lease_id);
                    let Some(lease) = self.state.lease(lease_id) else { continue };
                    assert_eq!((lease.start, lease.end), (occurrence.start, occurrence.end));
                    assert_eq!(lease.series.as_ref().map(|member| member.number), Some(occurrence.number));
                    assert_eq!(prepared, lease.status != LeaseStatus::Creating);
                    let status = lease.status.as_str();
                    text.push_str(&format!(" {}:{status}{}", occurrence.number, self.bindings_text(lease)));
                }
                let left: String = left_out.iter().map(|one| format!(" left {}", one.occurrence.number)).collect();
                Ok(format!("{text}{left}").trim().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The leases of a series, as they are listed by start; those that left memory too.
    pub(super) fn listed(&self, name: &str) -> String {
        let filter = LeaseFilter { series: Some(self.series[name]), order: LeaseOrder::Start, ..LeaseFilter::default() };
        let mut reader = ArchiveReader::new(self.store.freeze());
        let list = LeaseList::begin(&self.state, &filter, Reads { named: 1_000, most: 1_000 }).unwrap();
        let found = list.finish(&mut |which| reader.read(which)).unwrap().unwrap();
        let names: Vec<&str> = found.leases.into_iter().map(|lease| self.lease_name(lease.id)).collect();
        names.join(" ")
    }

    /// `deleteseries A`: names what is deleted, then what stays.
    pub(super) fn delete_series(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let series_id = self.series.get(name).copied().unwrap_or(SeriesId(Uuid::from_u128(9999)));
        match self.tell(key(words), Command::DeleteSeries { series_id })? {
            Reply::SeriesDeleted { deleted, kept } => {
                let names = |ids: &[LeaseId]| ids.iter().map(|id| format!(" {}", self.lease_name(*id))).collect::<String>();
                Ok(format!("deleted{} kept{}", names(&deleted), names(&kept)))
            }
            other => panic!("{other:?}"),
        }
    }
}
