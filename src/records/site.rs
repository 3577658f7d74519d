//! The sites of the records.

use crate::ordering::Ordering::{Acquire, Relaxed, Release};
use crate::ordering::{Field, Site, sites};

sites! {
    /// A producer takes a lane.
    CLAIM_OWNER: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "records.reserve.claim_owner")
        .of(Field::Owner)
        .pairs_with(&["records.reserve.release_owner", "records.repair.release_owner"])
        .why("the last owner's position and view of the consumer happen before this one goes on from them; failure: the lane is somebody's, and nothing of it is read");
    /// Where the last owner has published up to.
    LOAD_POSITION: Load = Site::load(Relaxed, "records.reserve.load_position")
        .of(Field::EnqueuePosition)
        .why("only owners store it, and the last one's store happened before the claim");
    /// What the last owner knew of the consumer.
    READ_SEEN: Read = Site::read("records.reserve.read_seen")
        .of(Field::Seen)
        .why("the owner's alone");
    /// How far the consumer is.
    LOAD_CONSUMED: Load = Site::load(Acquire, "records.reserve.load_consumed")
        .of(Field::DequeuePosition)
        .pairs_with(&["records.consume.free_words"])
        .why("the consumer's reads of the words happen before they are written again");
    /// What this owner knows of the consumer.
    WRITE_SEEN: Write = Site::write("records.reserve.write_seen")
        .of(Field::Seen)
        .why("the owner's alone");
    /// Words to the end of the ring that hold no record.
    WRITE_PADDING: Write = Site::write("records.reserve.write_padding")
        .of(Field::Data)
        .why("the words behind the position are the owner's until they are published");
    /// The bytes of a record.
    WRITE_DATA: Write = Site::write("records.reserve.write_data")
        .of(Field::Data)
        .why("the words behind the position are the owner's until they are published");
    /// Size, kind and stamp of a record.
    WRITE_HEADER: Write = Site::write("records.commit.write_header")
        .of(Field::Data)
        .why("the words behind the position are the owner's until they are published");
    /// Where a lane's words are, for who believes it.
    READ_RING: Read = Site::read("records.reserve.read_ring")
        .of(Field::Several)
        .why("written before the arena is published, or the programs are attached; never again");
    /// Whether the lane that stands before a record is the producer's.
    CHECK_OWNER: Load = Site::load(Relaxed, "records.commit.check_owner")
        .of(Field::Owner)
        .why("the owner's own store is the last one as long as it has the lane");
    /// Which lane a record is reserved in, and where it ends, where its producer has left that.
    READ_LANE: Read = Site::read("records.commit.read_lane")
        .of(Field::Data)
        .why("the words behind the position are the owner's until they are published");
    /// How large a record is that is reserved.
    WRITE_RESERVED: Write = Site::write("records.reserve.write_reserved")
        .of(Field::Reserved)
        .why("the owner's alone");
    /// The same, when it is committed.
    READ_RESERVED: Read = Site::read("records.commit.read_reserved")
        .of(Field::Reserved)
        .why("the owner's alone");
    /// The record can be seen.
    PUBLISH: Store = Site::store(Release, "records.commit.publish")
        .of(Field::EnqueuePosition)
        .pairs_with(&["records.consume.load_published"])
        .why("the record, and padding before it, are written before a consumer reads them");
    /// The lane is the next producer's.
    RELEASE_OWNER: Store = Site::store(Release, "records.reserve.release_owner")
        .of(Field::Owner)
        .pairs_with(&["records.reserve.claim_owner", "records.sleep.load_owner"])
        .why("this owner's position and view of the consumer happen before the next one goes on from them");
    /// How far the consumer can read.
    LOAD_PUBLISHED: Load = Site::load(Acquire, "records.consume.load_published")
        .of(Field::EnqueuePosition)
        .pairs_with(&["records.commit.publish"])
        .why("the records, and padding between them, are written before they are read");
    /// Size, kind and stamp.
    READ_HEADER: Read = Site::read("records.consume.read_header")
        .of(Field::Data)
        .why("the words up to what is published are the consumer's until it frees them; once: what was checked is what is used");
    /// The bytes of a record.
    READ_DATA: Read = Site::read("records.consume.read_data")
        .of(Field::Data)
        .why("the words up to what is published are the consumer's until it frees them");
    /// Words are the producers' again.
    FREE_WORDS: Store = Site::store(Release, "records.consume.free_words")
        .of(Field::DequeuePosition)
        .pairs_with(&["records.reserve.load_consumed"])
        .why("this consumer's reads of the words happen before they are written again");
    /// Whether a record is on its way, for a consumer that is about to sleep.
    SLEEP_OWNER: Load = Site::load(Acquire, "records.sleep.load_owner")
        .of(Field::Owner)
        .pairs_with(&["records.reserve.release_owner"])
        .why("who has given the lane up has published before: a consumer that sees the one sees the other");
    /// Who consumes a shard.
    CLAIM_CONSUMER: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "records.consumer.claim")
        .of(Field::Owner)
        .pairs_with(&["records.consumer.release"])
        .why("the last consumer's positions are stored before this one goes on from them; failure: nothing is read");
    /// The right passes from a consumer that died.
    TAKE_OVER: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "records.consumer.take_over")
        .of(Field::Owner)
        .why("decides between those who take over; what the dead one did happens before, by the caller's promise");
    /// The right is given up.
    RELEASE_CONSUMER: Store = Site::store(Release, "records.consumer.release")
        .of(Field::Owner)
        .pairs_with(&["records.consumer.claim"])
        .why("this consumer's positions are stored before the next one goes on from them");
    /// Where the last consumer has stopped.
    RESUME: Load = Site::load(Relaxed, "records.consumer.load_consumed")
        .of(Field::DequeuePosition)
        .why("only consumers store it, and the last one's store happened before the claim");
    /// Who has a lane.
    REPAIR_LOAD: Load = Site::load(Relaxed, "records.repair.load_owner")
        .of(Field::Owner)
        .why("only a guess: the exchange fails if it is old");
    /// A dead owner's lane is the next producer's.
    REPAIR_OWNER: CompareExchange = Site::compare_exchange(Release, Relaxed, "records.repair.release_owner")
        .of(Field::Owner)
        .pairs_with(&["records.reserve.claim_owner"])
        .why("what the dead owner did to the lane, which happens before by the caller's promise, happens before the next one goes on; failure: nothing is passed on");
    /// Where the lanes and words are, before anybody knows.
    INIT: Write = Site::write("records.init.write")
        .of(Field::Several)
        .why("nobody else knows of the records yet");
    /// Where the lanes and words are.
    GEOMETRY: Read = Site::read("records.attach.read_geometry")
        .of(Field::Several)
        .why("written before the arena is published, or the programs are attached; never again");
    /// Either position, to look at.
    INSPECT_POSITION: Load = Site::load(Relaxed, "records.inspect.load_position")
        .of(Field::Position)
        .why("a look: nothing is read that it would protect");
    /// Who has a lane, to look at.
    INSPECT_OWNER: Load = Site::load(Relaxed, "records.inspect.load_owner")
        .of(Field::Owner)
        .why("a look: nothing is read that it would protect");
}
